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
from workbook.data.store import PROBLEM_COLUMNS, Store, partial_folder, refuse_other_folder, stamp, write_store
from workbook.files import read_json, write_json, writing
from workbook.progress import progress_bar

log = logging.getLogger(__name__)

FORMAT = 2  # a change makes stores again
RECORD = ["has_audio", "has_video", "duration", "window_start", "face_confidence", "video_sha256", "audio_sha256"]
CLIP_COLUMNS = [
    *("clip", "actor", "label", "emotion", "intensity", "statement", "repetition", *RECORD[:5]),
    *("video_path", "audio_path", "video_sha256", "audio_sha256"),
]
# Of some corpora: in protocol authors, as how many clips of the original code it counts; the seconds of its file that a
# clip lies between; a split of its own; whether its picture is a face from edge to edge.
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
    plan = plan_of(trials, problems, settings)
    refuse_other_folder(path)
    old_plan = read_json(path / "manifest.json").get("plan", {})
    if old_plan == plan:
        shutil.rmtree(partial_folder(path), ignore_errors=True)  # left by a kill after the very last step
        log.info("the store %s is up to date: nothing to do", path)
        return Store.open(path)
    if path.exists():
        log.info("the clips or the settings of the store %s have changed: it is made again", path)
    if prepare is None:
        from workbook.data import workers as pool  # imports libraries that a finished store does not need

        prepare = partial(pool.prepare_all, workers=min(workers or os.cpu_count() or 1, len(trials)))
    with writing(path):
        draft = _Draft(partial_folder(path), plan, len(trials))
        if {**old_plan, "corpus": None} == {**plan, "corpus": None}:
            draft.take_over(Store.open(path), trials)
        _fill(draft, trials, prepare, progress)
        return draft.finish(path, trials, problems, names)


def plan_of(trials: pd.DataFrame, problems: pd.DataFrame, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings and files that determine a store; equal plans make equal stores."""
    trials = trials.sort_values("clip")
    stamps = {path: stamp(path) for path in sorted({*trials["video_path"], *trials["audio_path"]} - {""})}
    listing = [trials.to_dict("records"), problems.to_dict("records"), stamps]
    digest = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
    return {"format": FORMAT, "settings": settings, "corpus": {"files": len(stamps), "listing_sha256": digest}}


def _fill(draft: "_Draft", trials: pd.DataFrame, prepare: Callable, progress: bool) -> None:
    """Prepares the clips that the draft lacks. Raises InputError where it is interrupted."""
    remaining = {row: trial for row, trial in enumerate(trials.to_dict("records")) if row not in draft.entries}
    try:
        with progress_bar(
            len(trials), "clips to arrays", initial=len(draft.entries), unit="clip", disable=not progress
        ) as bar:
            for row, prepared in prepare(remaining, draft.plan["settings"]):
                draft.add(row, prepared.record, prepared.problems, prepared.video, prepared.audio)
                bar.update()
    except KeyboardInterrupt:
        raise InputError(f"stopped after {len(draft.entries)} of {len(trials)} clips: run it again to go on") from None


class _Draft:
    """A store in the making: arrays with a row for every trial, and a journal with a line for every finished one.

    The plan is written last when the folder is made, and a journal line after its rows.
    """

    def __init__(self, folder: Path, plan: dict[str, Any], count: int):
        self.folder, self.plan, self.count = folder, plan, count
        self.names = {"video": "faces", "audio": plan["settings"]["audio_features"]}  # of the arrays
        has_links = any(file.is_symlink() for file in folder.rglob("*"))  # never made here, and never followed
        if folder.exists() and (has_links or read_json(folder / "plan.json") != plan):
            log.info("%s was begun from another corpus or with other settings: it is discarded", folder)
            shutil.rmtree(folder)
        if not folder.exists():
            self._create()
        self.entries = self._read_journal()

    def _create(self) -> None:
        from workbook.data.audio import channels
        from workbook.data.window import MFCC_STEPS

        settings = self.plan["settings"]
        size = settings["image_size"]
        faces = (self.count, settings["frames"], size, size, 3)
        sound = (self.count, channels(settings["audio_features"]), MFCC_STEPS)
        (self.folder / "store").mkdir(parents=True)
        np.lib.format.open_memmap(self._file("video"), "w+", np.uint8, faces)
        np.lib.format.open_memmap(self._file("audio"), "w+", np.float32, sound)
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
        return {entry["row"]: entry for entry in map(json.loads, lines)}

    def add(
        self, row: int, record: dict, problems: list[dict], video: np.ndarray | None, audio: np.ndarray | None
    ) -> None:
        """Keeps the record, the problems and the arrays of one clip; None = it has none of this modality."""
        for modality, values in (("video", video), ("audio", audio)):
            if values is not None:
                _write_row(self._file(modality), row - self.count, values)
        entry = {"row": row, "record": record, "problems": problems}
        with open(self.folder / "journal.jsonl", "a", encoding="utf-8") as journal:
            journal.write(json.dumps(entry) + "\n")
        self.entries[row] = entry

    def take_over(self, store: Store, trials: pd.DataFrame) -> None:
        """Keeps the clips of a store whose files have the same bytes, without those that it had a problem with."""
        from workbook.data.prepare import sha256_of

        sums, span = ["video_sha256", "audio_sha256"], [name for name in ("start", "end", "cropped") if name in trials]
        usable = store.clips[~store.clips["clip"].isin(store.problems["clip"])].reindex(columns=[*RECORD, *span])
        known = {tuple(key): row for row, key in zip(usable.index, usable[sums + span].to_numpy(), strict=True)}
        records = usable[RECORD].to_dict("index")
        for row, trial in enumerate(trials.to_dict("records")):
            if row not in self.entries:
                files = [sha256_of(trial[name]) for name in ("video_path", "audio_path")]
                old = known.get((*files, *(trial[name] for name in span)))
                if old is not None:
                    arrays = (getattr(store, name)[old] if records[old][f"has_{name}"] else None for name in self.names)
                    self.add(row, records[old], [], *arrays)
        log.info("%d of %d clips are ready already", len(self.entries), len(trials))

    def finish(self, path: Path, trials: pd.DataFrame, problems: pd.DataFrame, names: list[str] | None) -> Store:
        """The store at `path`, made of the complete draft; may be repeated after a kill."""
        entries = [self.entries[row] for row in range(self.count)]
        records = [entry["record"] for entry in entries]
        usable = [row for row, record in enumerate(records) if record.get("has_audio") or record.get("has_video")]
        more = [problem for entry in entries for problem in entry["problems"]]
        problems = pd.DataFrame([*problems.to_dict("records"), *more], columns=PROBLEM_COLUMNS)
        if not usable:
            raise InputError(f"no clip of the corpus can be used; the first problem is: {problems['reason'].iloc[0]}")
        clips = pd.concat([trials, pd.DataFrame(records)], axis=1).iloc[usable]
        clips = clips[[name for name in (*CLIP_COLUMNS, *EXTRA_COLUMNS) if name in clips]]
        clips = clips.reset_index(drop=True).astype({"has_audio": bool, "has_video": bool})
        for file in map(self._file, self.names):
            _keep_rows(file, self.folder / "store" / file.name, usable, self.count)
        return write_store(path, clips, problems, _manifest(self.plan, self.names, clips, names))


def _write_row(file: Path, row: int, values: np.ndarray) -> None:
    """Writes a row of an array; row : from its end, negative. A full disk ends a process that writes a memory map."""
    with open(file, "r+b") as stream:
        stream.seek(row * values.nbytes, os.SEEK_END)
        stream.write(np.ascontiguousarray(values))


def _keep_rows(source: Path, target: Path, rows: list[int], count: int) -> None:
    """Some of the `count` rows of an array as a file of their own; moved, not copied, where these are all."""
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


def _manifest(plan: dict[str, Any], arrays: dict[str, str], clips: pd.DataFrame, names: list[str] | None) -> dict:
    table = clips.drop(columns=["video_path", "audio_path"]).to_csv(index=False)
    content = json.dumps([FORMAT, plan["settings"]]) + table
    return {
        "fingerprint": hashlib.sha256(content.encode()).hexdigest()[:12],
        "arrays": arrays,
        "plan": plan,
        **({"names": names} if names else {}),
        "versions": {name: version(name) for name in ("av", "librosa", "facenet-pytorch", "torch", "numpy")},
    }
