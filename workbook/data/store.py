"""The store: a corpus as memory-mapped arrays and a table of clips. Every other part of avlib reads only this.

A store is a folder: one array of pictures, `faces.npy` (N, F, S, S, 3) uint8 RGB, one of sound, `mfcc.npy` (N, 10, 156)
float32 or other audio features under their own name, `clips.parquet` with N rows in the same order, `problems.parquet`,
`manifest.json`. A corpus that comes as features has `video.npy` (N, Tv, Cv) and `audio.npy` (N, Ca, Ta) in their place,
both float32. A store of clips is made clip by clip in a sibling folder `<name>.partial` and renamed at the end, so a
store that exists is whole. Killed at any moment, the next call goes on where this one stopped.
"""

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workbook import InputError
from workbook.files import checksum, path_of, write_json

FORMAT = 1  # of the folder; another number is another store
PROBLEM_COLUMNS = ["clip", "path", "modality", "reason"]
KINDS = {("video", 5, "uint8"), ("video", 3, "float32"), ("audio", 3, "float32")}  # of arrays: axes and type

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """A finished store, opened for reading; the arrays stay on the disk until their rows are used."""

    path: Path
    clips: pd.DataFrame  # N rows in the order of the arrays; columns CLIP_COLUMNS
    video: np.ndarray  # (N, F, S, S, 3) uint8 RGB or (N, Tv, Cv) float32; zeros: no picture, or it has ended
    audio: np.ndarray  # (N, Ca, Ta) float32, such as (N, 10, 156), zeros where a clip has no sound
    problems: pd.DataFrame  # what could not be used and why: clip ("" where not known), path, modality, reason
    manifest: dict  # the plan that made it, counts, versions, fingerprint

    @classmethod
    def open(cls, path: Path | str) -> "Store":
        """The store in a folder. Raises InputError where there is none, or not a whole one."""
        path = Path(path)
        manifest = read_json(path / "manifest.json")
        missing = missing_files(path, manifest)
        if missing:
            raise InputError(f"{path} is not a store: it lacks {', '.join(missing)}")
        try:
            clips, problems = (pd.read_parquet(path / f"{name}.parquet") for name in ("clips", "problems"))
            video, audio = (
                np.load(path / f"{_arrays(manifest)[name]}.npy", mmap_mode="r") for name in ("video", "audio")
            )
            wrong = _wrong(path, manifest, clips, video, audio)
        except Exception as error:  # torn files can fail in any way
            wrong = f"{type(error).__name__}, {error}".splitlines()[0]
        if wrong:
            raise InputError(f"the store {path} is damaged ({wrong}): delete this folder and have it made again")
        return cls(path, clips, video, audio, problems, manifest)

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that change with the settings, the clips, and the bytes of their files; not with paths."""
        return self.manifest["fingerprint"]

    def __len__(self) -> int:
        return len(self.clips)


def _arrays(manifest: dict) -> dict[str, str]:
    """The name of the array of each modality; stores of the first kind do not say it."""
    return manifest.get("arrays", {"video": "faces", "audio": "mfcc"})


def _wrong(path: Path, manifest: dict, clips: pd.DataFrame, video: np.ndarray, audio: np.ndarray) -> str:
    """What of a store does not fit together; "" where all does. Values of the arrays are not looked at."""
    rows = {
        "clips": len(clips),
        "video": len(video),
        "audio": len(audio),
        "manifest": manifest.get("clips", len(clips)),
    }
    if len({*rows.values()}) > 1:
        return "rows: " + ", ".join(f"{name} {count}" for name, count in rows.items())
    if "fingerprint" not in manifest:
        return "its manifest.json is torn"
    for name, values in (("video", video), ("audio", audio)):
        if (name, values.ndim, values.dtype.name) not in KINDS:
            return f"{name} has shape {values.shape} and type {values.dtype}"
    expected = manifest.get("sha256", {})  # stores of earlier versions have none
    changed = [name for name, digest in expected.items() if checksum(path / name) != digest]
    return f"{changed[0]} is not as it was written" if changed else ""


def write_manifest(folder: Path, manifest: dict) -> None:
    """Writes the manifest of a store, the last of its files, with the checksums of its tables."""
    tables = ("clips.parquet", "problems.parquet")
    write_json(folder / "manifest.json", manifest | {"sha256": {name: checksum(folder / name) for name in tables}})


def missing_files(path: Path, manifest: dict) -> list[str]:
    """The files that the store in a folder ought to have and has not."""
    names = [
        "manifest.json",
        "clips.parquet",
        "problems.parquet",
        *(f"{name}.npy" for name in _arrays(manifest).values()),
    ]
    return [name for name in names if not os.path.exists(path / name)]


def stamp(path: str | Path) -> list[int]:
    """Size and time of last change of a file; empty where it cannot be read."""
    try:
        status = os.stat(path_of(path))
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns] if os.access(path_of(path), os.R_OK) else []


def read_json(path: Path) -> dict:
    """The content of a JSON file; {} where it is missing or torn."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
