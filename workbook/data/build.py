"""The store of a corpus of clips, made clip by clip in `<name>.partial`.

Killed at any moment, the next call goes on where this one stopped.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbook import InputError
from workbook.data.store import PROBLEM_COLUMNS, Store, partial_folder, stamp, write_store
from workbook.data.window import MFCC_STEPS
from workbook.files import read_json, write_json, writing
from workbook.progress import progress_bar

log = logging.getLogger(__name__)

FORMAT = 2  # a higher number has all stores made again
RECORD = ["has_audio", "has_video", "duration", "window_start", "face_confidence", "video_sha256", "audio_sha256"]
CLIP_COLUMNS = [
    *("clip", "actor", "label", "emotion", "intensity", "statement", "repetition", *RECORD[:5]),
    *("video_path", "audio_path", "video_sha256", "audio_sha256"),
]
# Columns that some corpora have. copies: how many clips of the original code it counts as, in protocol authors; start,
# end: seconds of its file; split: its own; cropped: True = its picture is a face from edge to edge.
EXTRA_COLUMNS = ["copies", "start", "end", "split", "cropped"]


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
    """The store of a corpus at `path`: opened if it is there and unchanged, else made or completed.

    Clips are prepared in `workers` processes (default: one per core); the result does not depend on their number. A
    clip of which nothing can be used is only in `problems`. Clips with the same bytes and settings are copied from an
    older store: a corrected label costs seconds. Raises InputError where no clip of the corpus can be used, where the
    disk is full, and where files vanish meanwhile: the next call goes on with the clips that are left.

    trials, problems : as `workbook.data.ravdess.find_trials` returns them.
    frames : pictures per clip.        image_size : pixels, of the square crops.        protocol : paper | authors
    audio_features : mfcc | logmel | chroma | spectrogram        names : of the labels, for the manifest
    prepare : (trials by row, settings) -> rows and clips as `prepare_all` yields them; for clips prepared elsewhere
    """
    path, trials = Path(path), trials.sort_values("clip", ignore_index=True)
    settings = {"frames": frames, "image_size": image_size, "protocol": protocol, "audio_features": audio_features}
    plan, folder = plan_of(trials, problems, settings), partial_folder(path)
    old_plan = read_json(path / "manifest.json").get("plan", {})
    if old_plan == plan:
        shutil.rmtree(folder, ignore_errors=True)  # left by a kill after the very last step
        log.info("the store %s is up to date: nothing to do", path)
        return Store.open(path)
    if path.exists():
        log.info("the clips or the settings of the store %s have changed: it is made again", path)
    if prepare is None:
        from workbook.data.prepare import prepare_all  # imports libraries that a finished store does not need

        prepare = partial(prepare_all, workers=min(workers or os.cpu_count() or 1, len(trials)))
    with writing(path):
        draft = _Draft(folder, plan, trials)
        if old_plan | {"corpus": None} == plan | {"corpus": None}:
            draft.take_over(Store.open(path))
        draft.fill(prepare, progress)
        return draft.finish(path, problems, names)


def plan_of(trials: pd.DataFrame, problems: pd.DataFrame, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings and files that determine a store; equal plans make equal stores."""
    trials = trials.sort_values("clip")
    stamps = {path: stamp(path) for path in sorted({*trials["video_path"], *trials["audio_path"]} - {""})}
    listing = [trials.to_dict("records"), problems.to_dict("records"), stamps]
    digest = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
    return {"format": FORMAT, "settings": settings, "corpus": {"files": len(stamps), "listing_sha256": digest}}


class _Draft:
    """A store in the making: arrays with a row for every trial, and a journal with a line for every finished one.

    The plan is written last when the folder is made, and a journal line after its rows.
    """

    def __init__(self, folder: Path, plan: dict[str, Any], trials: pd.DataFrame):
        self.folder, self.plan, self.trials = folder, plan, trials
        names = {"video": "faces", "audio": plan["settings"]["audio_features"]}
        self.arrays = {modality: folder / f"{name}.npy" for modality, name in names.items()}
        self.journal = folder / "journal.jsonl"
        has_links = any(file.is_symlink() for file in folder.rglob("*"))  # never made here, and never followed
        if folder.exists() and (has_links or read_json(folder / "plan.json") != plan):
            log.info("%s was begun from another corpus or with other settings: it is discarded", folder)
            shutil.rmtree(folder)
        if not folder.exists():
            self._create()
        self.entries = self._read_journal()  # row -> its record and its problems

    def _create(self) -> None:
        from workbook.data.audio import channels

        settings = self.plan["settings"]
        size = settings["image_size"]
        faces = (len(self.trials), settings["frames"], size, size, 3)
        sound = (len(self.trials), channels(settings["audio_features"]), MFCC_STEPS)
        (self.folder / "store").mkdir(parents=True)
        np.lib.format.open_memmap(self.arrays["video"], "w+", np.uint8, faces)
        np.lib.format.open_memmap(self.arrays["audio"], "w+", np.float32, sound)
        self.journal.touch()
        write_json(self.folder / "plan.json", self.plan)

    def _read_journal(self) -> dict[int, dict]:
        """The finished rows; a last line that was torn by a kill is cut off."""
        content = self.journal.read_bytes()
        end = content.rfind(b"\n") + 1
        os.truncate(self.journal, end)
        return {entry["row"]: entry for entry in map(json.loads, content[:end].splitlines())}

    def add(self, row: int, clip) -> None:
        """Keeps a clip, a `Prepared`, as a row of the arrays and a line of the journal."""
        for modality, path in self.arrays.items():
            values = getattr(clip, modality)
            if values is not None:
                with open(path, "r+b") as file:  # a full disk would end a process with a memory map
                    file.seek((row - len(self.trials)) * values.nbytes, os.SEEK_END)
                    file.write(np.ascontiguousarray(values))
        self.entries[row] = {"row": row, "record": clip.record, "problems": clip.problems}
        with open(self.journal, "a", encoding="utf-8") as journal:
            journal.write(json.dumps(self.entries[row]) + "\n")

    def take_over(self, store: Store) -> None:
        """Copies the clips of an older store whose files have the same bytes and had no problem."""
        from workbook.data.prepare import Prepared, sha256_of

        span = [name for name in ("start", "end", "cropped") if name in self.trials]
        usable = store.clips[~store.clips["clip"].isin(store.problems["clip"])].reindex(columns=[*RECORD, *span])
        keys = usable[["video_sha256", "audio_sha256", *span]].itertuples(index=False, name=None)
        known = dict(zip(keys, usable.index, strict=True))
        records = usable[RECORD].to_dict("index")
        for row, trial in enumerate(self.trials.to_dict("records")):
            if row not in self.entries:
                files = [sha256_of(trial[name]) for name in ("video_path", "audio_path")]
                old = known.get((*files, *(trial[name] for name in span)))
                if old is not None:
                    record = records[old]
                    arrays = (getattr(store, name)[old] if record[f"has_{name}"] else None for name in self.arrays)
                    self.add(row, Prepared(record, [], *arrays))
        log.info("%d of %d clips are ready already", len(self.entries), len(self.trials))

    def fill(self, prepare: Callable, progress: bool) -> None:
        """Prepares the clips that are missing. Raises InputError where it is interrupted."""
        count, done = len(self.trials), len(self.entries)
        missing = {row: trial for row, trial in enumerate(self.trials.to_dict("records")) if row not in self.entries}
        try:
            with progress_bar(count, "clips to arrays", initial=done, unit="clip", disable=not progress) as bar:
                for row, clip in prepare(missing, self.plan["settings"]):
                    self.add(row, clip)
                    bar.update()
        except KeyboardInterrupt:
            raise InputError(f"stopped after {len(self.entries)} of {count} clips: run it again to go on") from None

    def finish(self, path: Path, problems: pd.DataFrame, names: list[str] | None) -> Store:
        """The store at `path`, made of the complete draft; may be repeated after a kill."""
        entries = [self.entries[row] for row in range(len(self.trials))]
        records = pd.DataFrame([entry["record"] for entry in entries], self.trials.index, RECORD)
        more = [problem for entry in entries for problem in entry["problems"]]
        problems = pd.DataFrame([*problems.to_dict("records"), *more], columns=PROBLEM_COLUMNS)
        usable = np.flatnonzero(records[["has_audio", "has_video"]].eq(True).any(axis=1))
        if not len(usable):
            raise InputError(f"no clip of the corpus can be used; the first problem is: {problems['reason'].iloc[0]}")
        clips = self.trials.join(records).iloc[usable].reset_index(drop=True)
        clips = clips[[name for name in (*CLIP_COLUMNS, *EXTRA_COLUMNS) if name in clips]]
        clips = clips.astype({"has_audio": bool, "has_video": bool})
        for file in self.arrays.values():
            _keep_rows(file, self.folder / "store" / file.name, usable, len(entries))
        content = clips.drop(columns=["video_path", "audio_path"]).to_csv(index=False, lineterminator="\n")
        content = json.dumps([FORMAT, self.plan["settings"]]) + content
        manifest = {
            "fingerprint": hashlib.sha256(content.encode()).hexdigest()[:12],
            "arrays": {modality: file.stem for modality, file in self.arrays.items()},
            "plan": self.plan,
            **({"names": names} if names else {}),
            "versions": {name: version(name) for name in ("av", "librosa", "facenet-pytorch", "torch", "numpy")},
        }
        return write_store(path, clips, problems, manifest)


def _keep_rows(source: Path, target: Path, rows: np.ndarray, count: int) -> None:
    """Writes some of the `count` rows of an array to a file of their own; moves the array's file where they are all."""
    if len(rows) == count:
        if source.exists():  # else it was moved before a kill
            os.replace(source, target)
        return
    array = np.load(source, mmap_mode="r")
    header = np.lib.format.header_data_from_array_1_0(array) | {"shape": (len(rows), *array.shape[1:])}
    with open(target, "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for row in rows:
            stream.write(array[row])
