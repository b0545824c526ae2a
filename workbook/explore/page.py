"""The explorer as a folder of static files, which computes in the viewer's browser and needs no kernel.

Networks become ONNX graphs, and clips become tensors. engine.js computes with them what `probe.Probe` computes in
Python, page.js has the controls, widget.js draws. A file is named by its content, so a page that is written again
exports only what is new.
"""

import gzip
import hashlib
import logging
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from safetensors.numpy import save
from torch import nn

from workbook import DATA, InputError
from workbook.attention.truth import CUE, Cues
from workbook.data.window import SAMPLE_RATE, WINDOW_SAMPLES, cut_window, span_of
from workbook.explore.controls import clip_labels
from workbook.explore.explorer import GAINS, INTACT, NOISES, REACH
from workbook.explore.figure import LOOK
from workbook.explore.graphs import Answers, Descriptors, Sound, backward_graph, gradients_of, write_graph
from workbook.explore.probe import SEED, Inputs, Probe, Subject, noise_of
from workbook.files import atomic_write, checksum, folder_lock, write_json
from workbook.plots.clock import SECONDS, clock_of
from workbook.plots.style import AROUND, CONDITION_STYLE, SHADE
from workbook.progress import progress_bar
from workbook.text import one_line
from workbook.train.batches import Clips
from workbook.train.descriptors import behind_frames, digest

log = logging.getLogger(__name__)
FOLDER = Path(__file__).parent
FRONT = ("index.html", "page.js", "engine.js", "widget.css", "widget.js")
RUNTIME = DATA / "onnxruntime-web-1.30.0"
RUNTIME_FILES = {  # SHA-256
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}


@dataclass(frozen=True)
class PageCorpus:
    """Some clips of a test, and the networks that answer about them."""

    name: str
    networks: dict[str, Subject]  # by the name to show
    clips: Clips  # of the test; the networks read the same data
    chosen: Sequence[str]  # the clips on the page
    cues: dict[str, Cues] = field(default_factory=dict)  # true spans on the clock by clip


def choose_clips(clips: Clips, first: str, count: int) -> list[str]:
    """The names of `count` clips, about as many of each label: `first`, then others in random order."""
    mixed = clips.table.sample(frac=1, random_state=SEED)
    turns = mixed.groupby("emotion").cumcount().sort_values(kind="stable")
    return list(dict.fromkeys([first, *mixed.loc[turns.index, "clip"]]))[:count]


def write_page(folder: Path, corpora: Sequence[PageCorpus]) -> None:
    """Writes the page of these corpora to a folder, in place of an older page.

    Raises InputError where the folder holds anything else, and where onnx or onnxruntime-web is missing.
    """
    if any(folder.glob("[!.]*")) and not (folder / "index.html").exists():  # which is written first
        raise InputError(f"{folder} holds other files: give a new folder, or that of an older page")
    sources = {name: FOLDER / name for name in FRONT} | {f"ort/{path.name}": path for path in runtime_files()}
    networks = sum(len(corpus.networks) for corpus in corpora)
    with folder_lock(folder), progress_bar(networks, "networks exported", leave=False) as bar:
        for name, source in sources.items():
            with atomic_write(folder / name) as temporary:
                shutil.copyfile(source, temporary)
        exports = [_Export(folder, corpus, bar) for corpus in corpora]
        write_json(folder / "page.json", _look() | {"corpora": [export.record() for export in exports]})
        files = {name for export in exports for name in export.files}
        for path in [*folder.glob("*.onnx"), *folder.glob("*.tensors")]:
            if path.name not in files:
                path.unlink()  # of an older page


def runtime_files() -> list[Path]:
    """The three files of onnxruntime-web, which npm fetches the first time.

    Raises InputError that says where to put them where npm is missing or has no connection.
    """
    paths = [RUNTIME / name for name in RUNTIME_FILES]
    if not all(path.exists() for path in paths):
        with TemporaryDirectory() as folder, suppress(OSError, subprocess.CalledProcessError):
            command = [shutil.which("npm") or "npm", "pack", RUNTIME.name.replace("-web-", "-web@")]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
            shutil.unpack_archive(next(Path(folder).glob("*.tgz")), folder, filter="data")
            for path in paths:
                with atomic_write(path) as temporary:
                    shutil.copyfile(Path(folder, "package", "dist", path.name), temporary)
    wrong = [path.name for path in paths if not path.exists() or checksum(path) != RUNTIME_FILES[path.name]]
    if wrong:
        package = "the npm package onnxruntime-web 1.30.0 (its folder dist)"
        raise InputError(f"npm could not fetch {package}: put {', '.join(wrong)} of it into {RUNTIME}")
    return paths


def _look() -> dict[str, Any]:
    """The colours and the places of the sliders, as in all other figures and in the notebook."""
    tables = {"magma": colormaps["magma"], **AROUND}
    return LOOK | {
        "conditions": CONDITION_STYLE,
        "tables": {name: table(range(256), bytes=True)[:, :3].ravel().tolist() for name, table in tables.items()},
        "shade": [int(SHADE[place : place + 2], 16) for place in (1, 3, 5)],
        "gains": GAINS,
        "noises": [None if noise == inf else noise for noise in NOISES],
    }


class _Export:
    """Writes the files of one corpus; `record` returns what page.json says about it."""

    def __init__(self, folder: Path, corpus: PageCorpus, bar):
        self.folder, self.corpus, self.bar, self.files = folder, corpus, bar, set()
        self.inputs = Inputs(corpus.clips)
        self.clips = self.inputs.clips
        self.clock = clock_of(self.clips)
        self.labels = clip_labels(self.inputs.table)
        self.audio, self.video = self._unchanged(corpus.chosen[0])

    def record(self) -> dict[str, Any]:
        has_sound, samples = self.inputs.has_sound, {"samples": torch.zeros(1, WINDOW_SAMPLES)}
        shapes = {"audio": (WINDOW_SAMPLES,) if has_sound else self.audio.shape, "video": self.video.shape}
        noise = {name: noise_of(shape, torch.device("cpu")).numpy() for name, shape in shapes.items()}
        return {
            "name": self.corpus.name,
            "names": self.inputs.names,
            "clock": asdict(self.clock),
            "reach": REACH[self.clock.unit],
            "audio": list(self.audio.shape[1:]),
            "video": list(self.video.shape[1:]),
            "rgb": [*range(3)][self.clips.store.rgb],
            "times": {name: times.tolist() for name, times in self.inputs.times.items()},
            "features": self.clips.store.manifest["plan"]["settings"]["audio_features"] if has_sound else "",
            "sound": self._graph("sound", Sound(), Sound, samples, ["logmel", "mfcc"]) if has_sound else "",
            "file": self._tensors(noise),
            "clips": [self._clip(name) for name in self.corpus.chosen],
            "networks": [self._network(name, subject) for name, subject in self.corpus.networks.items()],
        }

    def _clip(self, name: str) -> dict[str, Any]:
        row, cues = self.inputs.table.loc[name], self.corpus.cues.get(name, {})
        record = {
            "clip": name,
            "label": self.labels[name],
            "truth": self.inputs.truth(name),
            "has": {modality: bool(row[f"has_{modality}"]) for modality in CUE},
            "cues": {modality: cues[cue] for modality, cue in CUE.items() if cue in cues},
        }
        audio, video = (values[0].numpy() for values in self._unchanged(name))
        if self.clock is SECONDS:
            frames = self.clips.store.video[self.clips.rows[self.inputs.place[name]]]
            video = np.moveaxis(frames, -1, 1)  # (Tv, 3, S, S) uint8
        arrays = {"audio": audio, "video": video}
        if self.inputs.has_sound and row["has_audio"]:  # two windows: as far as the slider shifts
            record["start"] = row["window_start"]
            record["first"] = round((row["window_start"] - REACH["s"]) * SAMPLE_RATE)
            starts = [(record["first"] + part * WINDOW_SAMPLES) / SAMPLE_RATE for part in range(2)]
            samples = self.inputs.samples(name)
            arrays["sound"] = np.concatenate([cut_window(samples, start, span_of(row)) for start in starts])
        return record | {"file": self._tensors(arrays)}

    def _network(self, name: str, subject: Subject) -> dict[str, Any]:
        probe, clip = Probe(subject.net, self.inputs, subject.conditions), self.corpus.chosen[0]
        net, answer = behind_frames(probe.net), probe.answer(clip, INTACT)
        inputs = {"audio": self.audio, "video": probe.descriptors(clip, INTACT)}
        record = {
            "name": name,
            "about": " ".join(subject.about),
            "reads": net.fusion.modalities,
            "conditions": [{"name": each.name, "needs": each.needs} for each in probe.conditions],
            "maps": [{"direction": key, "head": head, "name": words} for words, (key, head) in answer.heads.items()],
            "times": {key: times.tolist() for key, times in answer.times.items()},
            "black": probe.black[0, 0].tolist(),
            "gradients": None,
        }
        # Both graphs hold the descriptor of a black frame, so they hang on the frame network, too.
        kind, outputs = f"answers {probe.conditions}", ["outputs", *answer.maps, *answer.vectors]
        record["answers"] = self._graph(kind, probe.net, lambda: Answers(probe), inputs, outputs)
        if self.clock is SECONDS and probe.reads_video:
            kind = f"frames, learned stand-ins {net.learned_stand_ins}"
            make, frames = lambda: Descriptors(probe.net), {"frames": self.video}
            record["frames"] = self._graph(kind, probe.net.frame_network, make, frames, ["video"])
        inputs |= {"target": torch.eye(self.clips.task.outputs)[:1]}
        make = lambda: backward_graph(gradients_of(net, probe.black), (*inputs.values(),))  # noqa: E731
        try:
            record["gradients"] = self._graph("gradients", probe.net, make, inputs, ["audio", "video"])
        except Exception as error:  # an operation whose gradient ONNX cannot express
            log.warning("the page has no gradients of %s: %s", name, one_line(error)[:200])
        self.bar.update()
        return record

    def _unchanged(self, clip: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The audio (1, C, Ta) and the video (1, Tv, ...) of an unchanged clip."""
        return self.inputs.audio(clip, INTACT), self.inputs.video(clip, INTACT)

    def _tensors(self, arrays: dict[str, np.ndarray]) -> str:
        """The name of a new file, compressed safetensors."""
        data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        name = f"{hashlib.sha256(data).hexdigest()[:12]}.tensors"
        with atomic_write(self.folder / name) as temporary:
            temporary.write_bytes(gzip.compress(data, mtime=0))
        self.files.add(name)
        return name

    def _graph(self, kind: str, weights: nn.Module, make: Callable, inputs: dict, outputs: list[str]) -> str:
        """The name of an ONNX file, which is written unless it is there; its outputs are named `> name`.

        kind, weights : two graphs of the same kind and the same weights are the same      make : makes the module
        inputs : examples by name, which give the shapes
        """
        shapes = {name: tuple(values.shape) for name, values in inputs.items()}
        text = f"{kind} {torch.__version__} {type(self.clips.task)} {shapes} {outputs} {weights}"
        name = f"{digest(text, weights)}.onnx"
        if not (self.folder / name).exists():
            write_graph(self.folder / name, make(), inputs, [f"> {output}" for output in outputs])
        self.files.add(name)
        return name
