"""RAVDESS on disk: trials from file names (Livingstone & Russo, 2018).

A file name has seven two-digit fields, modality-channel-emotion-intensity-statement-repetition-actor, for example
`01-01-03-02-01-01-05.mp4`. A trial may have the files `01-` (sound and picture), `02-` (picture) and `03-` (sound).
Here it is one row, named by the six other fields.

The original code's preprocessing writes `01-01-03-02-01-01-05_facecroppad.npy` and `03-01-03-02-01-01-05_croppad.wav`.
Protocol `authors` reads these files.
"""

import os
import re
from pathlib import Path

import pandas as pd

from workbook import InputError
from workbook.data.store import PROBLEM_COLUMNS
from workbook.files import path_text

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")  # codes 01 to 08

FIELDS = {"modality": 3, "channel": 2, "emotion": 8, "intensity": 2, "statement": 2, "repetition": 2, "actor": 24}
SUFFIXES = (".mp4", ".wav", ".flac")
AUTHORS_FILES = AUTHORS_FACES, AUTHORS_SOUND = "_facecroppad.npy", "_croppad.wav"  # of the original preprocessing

# The files of a trial's picture and sound as (modality, end of the name); the first existing one is used.
VIDEO_SOURCES = ((1, AUTHORS_FACES), (2, AUTHORS_FACES), (1, ".mp4"), (2, ".mp4"))
AUDIO_SOURCES = (
    *((3, AUTHORS_SOUND), (3, ".wav"), (3, ".flac"), (3, ".mp4")),
    *((1, ".wav"), (1, ".flac"), (1, ".mp4")),
)

TRIAL_COLUMNS = ["actor", "label", "emotion", "intensity", "statement", "repetition"]
FILE_COLUMNS = [*FIELDS, "clip", "path", "kind", "label"]
EXPECTED = "files such as Actor_05/03-01-03-02-01-01-05.wav (mp4, wav or flac) in any folder below it"


def parse_name(name: str) -> dict[str, int]:
    """The seven fields of a RAVDESS file name (without suffix) as numbers, for example {"modality": 1, ...}.

    Raises InputError with the wrong field.
    """
    codes = name.split("-")
    if len(codes) != len(FIELDS):
        raise InputError(f"'{name}' has {len(codes)} fields where a name has seven: {'-'.join(FIELDS)}")
    for (field, last), code in zip(FIELDS.items(), codes, strict=True):
        if not re.fullmatch("[0-9]{2}", code) or not 1 <= int(code) <= last:
            raise InputError(f"the {field} field of '{name}' is '{code}' where 01 to {last:02d} is expected")
    return dict(zip(FIELDS, map(int, codes), strict=True))


def find_trials(root: Path | str, protocol: str = "paper") -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row per trial of speech anywhere under `root`, and one row per file or folder that cannot be used.

    trials : clip, actor, label (0 to 7), emotion, intensity, statement, repetition, video_path, audio_path; sorted by
             clip. The picture is from the `01-` file, else `02-`; the sound from the `03-` file (wav before flac), else
             from `01-`; "" where there is none. Of two files with the same name the first by path is used. Protocol
             `authors` prefers files of the original preprocessing, and adds the column copies: 2 for a picture with an
             `01-` and a `02-` file, which the original code counts as two clips, else 1.
    problems : clip, path, modality, reason. Other and hidden files are ignored.

    Raises InputError where `root` holds no clip.
    """
    root = Path(root).expanduser().resolve()
    files, problems = _scan(root)
    files = files[files["channel"] == 1]  # 2 is song
    is_prepared, is_authors = files["kind"].isin(AUTHORS_FILES), protocol == "authors"
    if not is_authors:
        files = files[~is_prepared]
    if files.empty:
        reason = f"; the first problem is: {problems['reason'].iloc[0]}" if len(problems) else ""
        hint = "; protocol=authors reads the files of the authors' scripts there" if is_prepared.any() else reason
        raise InputError(f"{root} holds no speech clip: expected {EXPECTED}{hint}")
    trials = files.drop_duplicates("clip").set_index("clip")[TRIAL_COLUMNS].sort_index()
    trials["video_path"] = _best_source(files, VIDEO_SOURCES)
    trials["audio_path"] = _best_source(files, AUDIO_SOURCES)
    trials = trials.fillna({"video_path": "", "audio_path": ""})
    if is_authors:
        pictures = files[files["modality"].isin([1, 2]) & files["kind"].isin([".mp4", AUTHORS_FACES])]
        copies = pictures.groupby("clip")["modality"].nunique()
        trials["copies"] = copies.reindex(trials.index, fill_value=1)
    return trials.reset_index(), problems


def _best_source(files: pd.DataFrame, sources: tuple) -> pd.Series:
    """The preferred path of each clip, indexed by clip; only clips with such a file."""
    rank = [sources.index(kind) if kind in sources else -1 for kind in zip(files.modality, files.kind, strict=True)]
    ranked = files.assign(rank=rank).query("rank >= 0").sort_values(["rank", "path"])
    return ranked.drop_duplicates("clip").set_index("clip")["path"]


def _scan(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every media file below `root` with a valid name, with its fields; and the problems, sorted by path."""
    rows, reasons = [], {}  # reasons : file or folder -> why it cannot be used
    for path in _walk(root, reasons):
        kind = next(filter(path.name.endswith, AUTHORS_FILES), path.suffix)
        stem, kind = path.name.removesuffix(kind), kind.lower()
        if kind not in SUFFIXES + AUTHORS_FILES:
            continue
        try:
            fields = parse_name(stem)
        except InputError as error:
            reasons[path] = str(error)
            continue
        if (fields["modality"], kind) not in VIDEO_SOURCES + AUDIO_SOURCES:
            reasons[path] = f"in '{path.name}', modality {fields['modality']:02} and '{kind}' contradict each other"
        else:
            file = {"clip": stem[3:], "path": path_text(path), "kind": kind, "label": fields["emotion"] - 1}
            rows.append(fields | file | {"emotion": EMOTIONS[fields["emotion"] - 1]})
    problems = sorted(("", path_text(path), "", path_text(reason)) for path, reason in reasons.items())
    return pd.DataFrame(rows, columns=FILE_COLUMNS), pd.DataFrame(problems, columns=PROBLEM_COLUMNS)


def _walk(root: Path, reasons: dict[Path, str]) -> list[Path]:
    """The files below `root`, sorted, without hidden ones; follows links, but enters each real folder once.

    A folder that one may not read gets an entry in `reasons`. Raises InputError for others, such as of a drive that is
    away.
    """
    entered, files = {os.path.realpath(root)}, []

    def refuse(error: OSError) -> None:
        if not isinstance(error, PermissionError):
            raise InputError(f"{error.filename} cannot be read now: {error.strerror}") from error
        reasons[Path(error.filename)] = f"the folder cannot be read ({error.strerror}): its files are left out"

    for folder, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        targets = {name: os.path.realpath(os.path.join(folder, name)) for name in sorted(folders)}
        folders[:] = [name for name, target in targets.items() if target not in entered]
        entered.update(targets.values())
        files += [Path(folder, name) for name in names if not name.startswith(".")]
    return sorted(files)
