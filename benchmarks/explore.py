"""The explorer on real clips: how long a step takes from the move of a control to what the browser is sent.

`--data-root` names a folder with clips of RAVDESS. The network has its full size and fresh weights: what a step costs
does not depend on what was learnt. Some steps go to the next clip. Steps are taken one after the other, twice: without
a pause, and with a second between two steps, in which the background describes frames ahead.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from avlib import build_model
from benchmarks.synthetic import CLASSES, all_clips
from benchmarks.timing import aim
from workbook import DATA, InputError
from workbook.data.build import build_store
from workbook.data.ravdess import find_trials
from workbook.train.batches import Clips

SLIDERS = ("audio_gain", "video_gain", "audio_noise", "video_noise", "shift", "voice")
CONTROLS = (*SLIDERS, "audio_masked", "video_masked", "clip")
AHEAD = 120  # seconds at most that the frames of a clip are waited for
AIM = 150  # milliseconds of a step, 95 of 100
PAUSE = 1.0  # seconds between two steps, where the background has something to do


def measure(options) -> dict:
    """Milliseconds of a step by control, median and 95th percentile, and seconds until the first figure."""
    from workbook.explore.explorer import Explorer
    from workbook.explore.probe import Subject

    torch.manual_seed(0)
    size = options.image_size or 224
    with tempfile.TemporaryDirectory() as folder:
        clips = real_clips(options.data_root, options.clips or 8, options.frames, size, Path(folder))
        net = build_model("ia", 1, CLASSES, size)
        begin = time.perf_counter()
        explorer = Explorer({"one": Subject(net), "two": Subject(build_model("ia", 1, CLASSES, size))}, clips)
        first = time.perf_counter() - begin
        explorer._on_shown()  # as a browser says
        count, found = options.steps, {}
        found["without a pause"] = steps(explorer, count, seed=1)
        explorer.clips.later.click()
        found["seconds until a clip's frames are described ahead"] = round(_wait(explorer, AHEAD), 2)
        found["with pauses"] = steps(explorer, count, seed=2, pauses=True)
        explorer.beside.value = "two"
        found["two networks"] = steps(explorer, count, seed=3, pauses=True)
        explorer.show(clip=explorer.clips.chosen, gradients=True)
        found["one network with gradients"] = steps(explorer, count, seed=4, pauses=True)
    settings = {"clips": len(clips), "frames": options.frames, "image_size": size, "steps": count}
    timed = [name for name, row in found.items() if isinstance(row, dict)]
    aims = {name: aim(found[name]["all"]["p95"], AIM, "ms", at_most=True) for name in timed}
    return {
        "aims": aims,
        "seconds until the first figure": round(first, 2),
        "milliseconds of a step": found,
        "settings": settings,
    }


def real_clips(root: Path | None, count: int, frames: int, size: int, folder: Path) -> Clips:
    """Clips of a corpus that have sound and picture, prepared into a folder. Raises InputError where there are none."""
    trials, problems = find_trials(root or DATA / "ravdess")
    trials = trials[trials["video_path"].ne("") & trials["audio_path"].ne("")].head(count)
    if trials.empty:
        raise InputError(f"no clip with picture and sound below {root or DATA / 'ravdess'}: --data-root names a folder")
    return all_clips(build_store(folder / "store", trials, problems[:0], frames=frames, image_size=size, workers=2))


def steps(explorer, count: int, seed: int, pauses: bool = False) -> dict[str, dict[str, float]]:
    """Milliseconds of so many steps with controls drawn at random, by control and of all.

    pauses : True = before each step, the background has PAUSE for what it was asked to do
    """
    draw, taken = random.Random(seed), {name: [] for name in CONTROLS}
    moves = {name: moved(explorer, name, draw) for name in CONTROLS}
    for _ in range(count):
        name = draw.choice(CONTROLS)
        move = next(moves[name])
        if pauses:
            _wait(explorer, PAUSE)
        begin = time.perf_counter()
        move()
        taken[name].append(1000 * (time.perf_counter() - begin))
        assert not explorer.message.value, explorer.message.value
    every = [one for values in taken.values() for one in values]
    return {name: summary(values) for name, values in {"all": every, **taken}.items() if values}


def moved(explorer, name: str, draw: random.Random) -> Iterator[Callable[[], None]]:
    """Functions that move a control to another place, without end."""
    while True:
        if name.endswith("_masked"):
            start, modality = draw.uniform(0, 3), name.removesuffix("_masked")
            spans = dict(explorer.figure_widget.masked) | {modality: [[start, start + draw.uniform(0.1, 0.6)]]}
            yield lambda spans=spans: setattr(explorer.figure_widget, "masked", spans)
            continue
        if name == "clip":
            first, last = explorer.clips.clip.options[0], explorer.clips.clip.options[-1]
            way = {first: "later", last: "earlier"}.get(explorer.clips.chosen, draw.choice(["later", "earlier"]))
            yield getattr(explorer.clips, way).click
            continue
        widget = explorer.controls[name]
        if name == "shift":
            places = [round(place * widget.step, 3) for place in range(-20, 21)]
        else:
            places = [option[1] if isinstance(option, tuple) else option for option in widget.options]
        value = draw.choice([place for place in places if place != widget.value])
        yield lambda value=value, widget=widget: setattr(widget, "value", value)


def summary(values: list[float]) -> dict[str, float]:
    """Median and 95th percentile, rounded."""
    ordered = sorted(values)
    return {"median": round(statistics.median(ordered), 1), "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 1)}


def _wait(explorer, most: float) -> float:
    """The seconds until the background has described what it was asked to, so many at most."""
    begin = time.perf_counter()
    explorer._prefetcher.wait(most)
    return time.perf_counter() - begin
