"""The store of a corpus of clips, made clip by clip.

It grows in a sibling folder `<name>.partial` and is renamed at the end, so a store that exists is whole. Killed at any
moment, the next call goes on where this one stopped.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from workbook import InputError
from workbook.data.store import (
    PROBLEM_COLUMNS,
    Store,
    partial_folder,
    read_json,
    refuse_other_folder,
    stamp,
    write_store,
)
from workbook.files import FULL, path_of, refuse_unguarded, reserve, write_json, writing
from workbook.progress import progress_bar

log = logging.getLogger(__name__)

FORMAT = 1  # a change makes stores again
CLIP_COLUMNS = [
    *("clip", "actor", "label", "emotion", "intensity", "statement", "repetition"),
    *("has_audio", "has_video", "duration", "window_start", "face_confidence"),
    *("video_path", "audio_path", "video_sha256", "audio_sha256"),
]
EXTRA_COLUMNS = [
    "copies",  # in protocol authors, 1 or 2: as how many clips of the original code it counts
    *("start", "end"),  # where clips are parts of files: the seconds of its file that a clip lies between
    "split",  # where the corpus brings a split of its own: train, validation or test
]


def build_store(
    path: Path | str,
    trials: pd.DataFrame,
    problems: pd.DataFrame,
    *,
    frames: int = 15,
    image_size: int = 224,
    protocol: str = "paper",
    audio_features: str = "mfcc",
    names: list[str] | None = None,
    workers: int | None = None,
    prepare: Callable | None = None,
    progress: bool = True,
) -> Store:
    """The store of a corpus at `path`: opened where it is there and unchanged, else made or brought to its end.

    Clips are prepared in `workers` processes (default: one per core), the result does not depend on how many. A clip
    of which nothing can be used is only in `problems`. Raises InputError where no clip of the corpus can be used, where
    the disk is full, and where the machine could not read some clips this time: the next call tries only these.

    trials, problems : as `workbook.data.ravdess.find_trials` returns them.
    frames : pictures per clip.        image_size : pixels, of the square crops.        protocol : paper | authors
    audio_features : mfcc | logmel | chroma | spectrogram        names : of the labels, for the manifest
    prepare : (trials by row, settings) -> what `prepare_all` yields, where the clips are prepared elsewhere
    """
    refuse_unguarded()
    path = Path(path)
    trials, problems = _without_dead_links(trials.sort_values("clip", ignore_index=True), problems)
    settings = {"frames": frames, "image_size": image_size, "protocol": protocol}
    if audio_features != "mfcc":  # not named where it is what it always was: such a store keeps its fingerprint
        settings["audio_features"] = audio_features
    plan = _plan(trials, problems, settings)
    partial = partial_folder(path)
    if _is_current(path, plan):
        shutil.rmtree(partial, ignore_errors=True)  # left where the last run was killed after its very last step
        log.info("the store %s is up to date: nothing to do", path)
        return Store.open(path)
    with writing(path):
        draft = _Draft(partial, plan, len(trials))
        _fill(draft, trials, plan["settings"], prepare or _in_processes(workers or os.cpu_count() or 1), progress)
        return draft.finish(path, trials, problems, names)


def _without_dead_links(trials: pd.DataFrame, problems: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The corpus without the links that lead nowhere, which are problems. Raises InputError where a file has vanished.

    Once a link leads somewhere its trial has another path, and the store is made anew.
    """
    trials, noted = trials.copy(), []
    for modality in ("video", "audio"):
        for row, path in trials[f"{modality}_path"].items():
            if path and not os.path.exists(path_of(path)):
                if not os.path.islink(path_of(path)):
                    raise InputError(f"{path} was there a moment ago and is not now: try again when its disk is back")
                trials.loc[row, f"{modality}_path"] = ""
                clip, reason = trials["clip"][row], f"{Path(path).name} is a link that leads nowhere"
                noted.append({"clip": clip, "path": path, "modality": modality, "reason": reason})
    return trials, pd.DataFrame([*problems.to_dict("records"), *noted], columns=PROBLEM_COLUMNS)


def _plan(trials: pd.DataFrame, problems: pd.DataFrame, settings: dict) -> dict:
    """What decides about the content of a store; two equal plans make equal stores."""
    from workbook.data.audio import extractor  # brings librosa, which opening a store needs not

    if settings["protocol"] not in ("paper", "authors"):
        raise InputError(f"there is no protocol '{settings['protocol']}': choose paper or authors")
    for name, smallest in (("frames", 1), ("image_size", 8)):
        if settings[name] < smallest:
            raise InputError(f"{name} is {settings[name]} where at least {smallest} is expected")
    extractor(_audio_features(settings))  # raises for an unknown name
    stamps = {path: stamp(path) for path in sorted({*trials["video_path"], *trials["audio_path"]} - {""})}
    listing = [trials.to_dict("records"), problems.to_dict("records"), stamps]
    digest = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
    return {"format": FORMAT, "settings": settings, "corpus": {"files": len(stamps), "listing_sha256": digest}}


def _audio_features(settings: dict) -> str:
    return settings.get("audio_features", "mfcc")


def _is_current(path: Path, plan: dict) -> bool:
    """Whether `path` holds the store of this plan; logs why not. Raises InputError where it holds something else."""
    refuse_other_folder(path)
    if not path.exists():
        return False
    if read_json(path / "manifest.json").get("plan") == plan:
        return True
    log.info("the corpus or the settings of the store %s have changed: it is made anew", path)
    return False


def _in_processes(workers: int) -> Callable:
    """The function that prepares clips in so many processes of this machine."""
    from workbook.data import workers as pool  # brings the libraries that read media: a finished store needs none

    return lambda trials, settings: pool.prepare_all(trials, settings, min(workers, len(trials)))


def _fill(draft: "_Draft", trials: pd.DataFrame, settings: dict, prepare: Callable, progress: bool) -> None:
    """Prepares the clips that the draft does not have yet.

    Raises InputError where the machine fails for some, and where it is interrupted.
    """
    from workbook.data.faults import Fault, fault  # brings libraries that read media

    rows = trials.to_dict("records")
    missing = {row: trial for row, trial in enumerate(rows) if row not in draft.entries}
    done = len(draft.entries)
    bar = progress_bar(len(rows), "clips to arrays", initial=done, unit="clip", disable=not progress)
    left: dict[int, str] = {}  # row -> why the machine could not read it
    try:
        with bar:
            for row, outcome in prepare(missing, settings):
                if isinstance(outcome, Fault):
                    left[row] = str(outcome)
                else:
                    draft.add(row, outcome)
                    bar.update()
    except KeyboardInterrupt:
        raise InputError(f"stopped after {len(draft.entries)} of {len(rows)} clips: run it again to go on") from None
    except (OSError, MemoryError) as error:
        if getattr(error, "errno", None) in FULL or not fault(error, draft.folder):
            raise
        left = {row: str(error) for row in missing if row not in draft.entries}
    if left:
        first, reason = next(iter(left.items()))
        raise InputError(
            f"{len(left)} of {len(rows)} clips could not be read this time, the first of them {rows[first]['clip']}: "
            f"{reason}; the others are kept, and the next call tries only these"
        )


class _Draft:
    """A store in the making: arrays with a row for every trial, and a journal with a line for every finished one.

    The plan is written last when the folder is made, and a journal line after the rows it speaks of: whatever can be
    read here is true.
    """

    def __init__(self, folder: Path, plan: dict, count: int):
        self.folder, self.plan = folder, plan
        self.names = {"video": "faces", "audio": _audio_features(plan["settings"])}  # of the arrays
        self.arrays: dict[str, np.memmap] = {}
        if folder.exists() and read_json(folder / "plan.json") != plan:
            log.info("%s was begun from another corpus or with other settings: it is discarded", folder)
            shutil.rmtree(folder)
        if not folder.exists():
            self._create(count)
        self.entries = self._read_journal()
        if self.entries:
            log.info("going on with %s: %d of %d clips are done", folder, len(self.entries), count)

    def _create(self, count: int) -> None:
        from workbook.data.audio import channels
        from workbook.data.window import MFCC_STEPS

        settings = self.plan["settings"]
        faces = (count, settings["frames"], settings["image_size"], settings["image_size"], 3)
        sound = (count, channels(_audio_features(settings)), MFCC_STEPS)
        self.folder.mkdir(parents=True)
        for modality, shape, dtype in (("video", faces, np.uint8), ("audio", sound, np.float32)):
            np.lib.format.open_memmap(self._file(modality), "w+", dtype, shape)
        reserve([self._file(modality) for modality in self.names], self.folder)
        (self.folder / "journal.jsonl").touch()
        write_json(self.folder / "plan.json", self.plan)

    def _file(self, modality: str) -> Path:
        return self.folder / f"{self.names[modality]}.npy"

    def _read_journal(self) -> dict[int, dict]:
        """The finished rows; a last line that was torn by a kill is cut off."""
        path = self.folder / "journal.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            os.truncate(path, sum(map(len, lines[:-1])))
            lines.pop()
        entries = map(json.loads, lines)
        return {entry["row"]: entry for entry in entries}

    def add(self, row: int, prepared) -> None:
        """Keeps what became of one clip."""
        for modality, values in (("video", prepared.video), ("audio", prepared.audio)):
            if values is not None:
                self._write_row(modality, row, values)
        entry = {"record": prepared.record, "problems": prepared.problems}
        self.entries[row] = {"row": row} | entry
        with open(self.folder / "journal.jsonl", "a") as journal:
            journal.write(json.dumps(self.entries[row]) + "\n")

    def _write_row(self, modality: str, row: int, values: np.ndarray) -> None:
        if modality not in self.arrays:
            self.arrays[modality] = np.lib.format.open_memmap(self._file(modality), "r+")
        self.arrays[modality][row] = values
        self.arrays[modality].flush()

    def finish(self, path: Path, trials: pd.DataFrame, problems: pd.DataFrame, names: list[str] | None) -> Store:
        """The store at `path`, made of the complete draft; may be repeated after a kill."""
        store = self.folder / "store"
        store.mkdir(exist_ok=True)
        records = [self.entries[row]["record"] for row in range(len(trials))]
        usable = [row for row, record in enumerate(records) if record.get("has_audio") or record.get("has_video")]
        noted = [problem for row in range(len(trials)) for problem in self.entries[row]["problems"]]
        problems = pd.DataFrame([*problems.to_dict("records"), *noted], columns=PROBLEM_COLUMNS)
        if not usable:
            raise InputError(f"no clip of the corpus can be used; the first problem is: {problems['reason'].iloc[0]}")
        clips = pd.concat([trials, pd.DataFrame(records)], axis=1).iloc[usable]
        clips = clips[[name for name in (*CLIP_COLUMNS, *EXTRA_COLUMNS) if name in clips]]
        clips = clips.reset_index(drop=True).astype({"has_audio": bool, "has_video": bool})
        self.arrays.clear()
        for modality in self.names:
            file, filled = self._file(modality), clips[f"has_{modality}"]
            _keep_rows(file, store / file.name, usable, filled, len(trials))
        return write_store(path, clips, problems, _manifest(self.plan, self.names, clips, names))


def _keep_rows(source: Path, target: Path, rows: list[int], filled: pd.Series, count: int) -> None:
    """The rows of an array that became clips, as a file of their own; moved, not copied, where that is all of them."""
    if len(rows) == count:
        if source.exists():  # else it was moved before a kill
            os.replace(source, target)
        return
    old = np.load(source, mmap_mode="r")
    new = np.lib.format.open_memmap(target, "w+", old.dtype, (len(rows), *old.shape[1:]))
    reserve([target], target.parent)
    for position in np.flatnonzero(filled):  # the others stay zeros
        new[position] = old[rows[position]]
    new.flush()


def _manifest(plan: dict, arrays: dict[str, str], clips: pd.DataFrame, names: list[str] | None) -> dict:
    from workbook.data.window import HOP, SAMPLE_RATE, WINDOW

    table = clips.drop(columns=["video_path", "audio_path"]).to_csv(index=False)
    content = json.dumps([FORMAT, plan["settings"]]) + table
    return {
        "fingerprint": hashlib.sha256(content.encode()).hexdigest()[:12],
        "arrays": arrays,
        "plan": plan,
        "window_seconds": WINDOW,
        "sample_rate": SAMPLE_RATE,
        "hop_samples": HOP,
        **({"names": names} if names else {}),
        "versions": {name: version(name) for name in ("av", "librosa", "facenet-pytorch", "torch", "numpy")},
    }
