"""The store: a corpus as memory-mapped arrays and a table of clips. Everything after preprocessing reads only this.

A store is a folder: an array of pictures, `faces.npy` (N, F, S, S, 3) uint8 RGB, one of sound, `mfcc.npy` (N, 10, 156)
float32 or other audio features under their own name, `clips.parquet` with N rows in the same order, `problems.parquet`,
`manifest.json`. A corpus of features has `video.npy` (N, Tv, Cv) and `audio.npy` (N, Ca, Ta), both float32, where NaN
is a missing value.

A store is written in a sibling folder `<name>.partial` and renamed at the end: a store that exists is complete.
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbook import InputError
from workbook.data.window import colours
from workbook.files import checksum, path_of, write_json

TABLES = ("clips.parquet", "problems.parquet")
PROBLEM_COLUMNS = ["clip", "path", "modality", "reason"]
KINDS = {("video", 5, "uint8"), ("video", 3, "float32"), ("audio", 3, "float32")}  # of arrays: axes and type


@dataclass(frozen=True)
class Store:
    """A finished store, opened for reading; the arrays stay on the disk until their rows are used."""

    path: Path
    clips: pd.DataFrame  # N rows in the order of the arrays; columns CLIP_COLUMNS
    video: np.ndarray  # (N, F, S, S, 3) uint8, see `rgb`, or (N, Tv, Cv) float32; zeros: no picture, or it has ended
    audio: np.ndarray  # (N, Ca, Ta) float32, such as (N, 10, 156), zeros where a clip has no sound
    problems: pd.DataFrame  # files that cannot be used, and why: clip ("" where not known), path, modality, reason
    manifest: dict  # the plan that made it, counts, versions, fingerprint

    @classmethod
    def open(cls, path: Path | str) -> "Store":
        """The store in a folder. Raises InputError where there is none, or a damaged one."""
        path = Path(path)
        if not os.path.exists(path / "manifest.json"):
            raise InputError(f"{path} is not a store: it has no manifest.json")
        try:
            manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
            clips, problems = (pd.read_parquet(path / name) for name in TABLES)
            names = manifest["arrays"]  # by modality
            arrays = {modality: np.load(path / f"{name}.npy", mmap_mode="r") for modality, name in names.items()}
            for name, digest in manifest["sha256"].items():
                if checksum(path / name) != digest:
                    raise ValueError(f"{name} is not as it was written")
            for name, array in arrays.items():
                if (name, array.ndim, array.dtype.name) not in KINDS or len(array) != len(clips):
                    raise ValueError(f"{name} has shape {array.shape} and type {array.dtype} for {len(clips)} clips")
            if not manifest["fingerprint"]:
                raise ValueError("it has no fingerprint")
            return cls(path, clips, **arrays, problems=problems, manifest=manifest)
        except Exception as error:  # torn files can fail in any way
            reason = f"{type(error).__name__}, {error}".splitlines()[0]
            raise InputError(
                f"the store {path} is damaged ({reason}): delete this folder and have it made again"
            ) from error

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that change with the settings, the clips, and the bytes of their files; not with paths."""
        return self.manifest["fingerprint"]

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def rgb(self) -> slice:
        """The slice of the colour axis that turns stored faces into RGB: protocol `authors` stores blue, green, red."""
        return colours(self.manifest["plan"]["settings"].get("protocol") if self.video.ndim == 5 else "")

    @property
    def with_picture(self) -> np.ndarray:
        """The rows of the clips that have a picture."""
        return np.flatnonzero(self.clips["has_video"])

    def example(self, emotions: Sequence[str]) -> int:
        """The row of the first clip with both modalities and one of these emotions, or else with both modalities."""
        both = self.clips["has_audio"] & self.clips["has_video"]
        return int((both & self.clips["emotion"].isin(emotions)).argmax() or both.argmax())


def partial_folder(path: Path) -> Path:
    """The folder in which the store at `path` is made. Raises InputError where `path` is there and is no store."""
    if path.exists() and not (path / "manifest.json").exists():
        raise InputError(f"{path} exists and is not a store: move it away, or give another folder")
    return path.with_name(path.name + ".partial")


def new_draft(path: Path) -> Path:
    """An empty folder for the arrays of the store at `path`."""
    draft = partial_folder(path) / "store"
    shutil.rmtree(draft.parent, ignore_errors=True)  # left by a run that was killed
    draft.mkdir(parents=True)
    return draft


def write_store(path: Path, clips: pd.DataFrame, problems: pd.DataFrame, manifest: dict[str, Any]) -> Store:
    """The store at `path`, in place of an older one: the arrays that are ready, with their tables and manifest.

    The arrays are in `partial_folder(path) / "store"`, as in `new_draft`. After a kill the call may be repeated.

    manifest : its entries beside counts and checksums; `arrays` names the array of each modality
    """
    partial = partial_folder(path)
    draft = partial / "store"
    for name, table in zip(TABLES, (clips, problems), strict=True):
        table.to_parquet(draft / name, index=False)
    manifest = manifest | {"clips": len(clips), "problems": len(problems)}
    manifest |= {f"with_{modality}": int(clips[f"has_{modality}"].sum()) for modality in ("audio", "video")}
    manifest |= {"sha256": {name: checksum(draft / name) for name in TABLES}}
    write_json(draft / "manifest.json", manifest)
    if path.exists():
        os.rename(path, partial / "old")
    os.rename(draft, path)
    shutil.rmtree(partial)
    return Store.open(path)


def stamp(path: str | Path) -> list[int]:
    """Size and time of last change of a file; empty where it cannot be read."""
    try:
        status = os.stat(path_of(path))
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns] if os.access(path_of(path), os.R_OK) else []
