"""Films of your own: a folder with a table `clips.csv` of files, persons and labels (docs/data.md)."""

from math import inf
from pathlib import Path

import pandas as pd

from workbook import InputError
from workbook.data.columns import check_names
from workbook.data.store import PROBLEM_COLUMNS
from workbook.files import path_of, path_text

TABLE = "clips.csv"
REQUIRED, OPTIONAL = ("file", "person", "label"), ("audio", "start", "end", "clip", "split")  # its columns
SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".m4a")  # a `file` with such a suffix has no picture
SPLITS = ("train", "validation", "test")


def read_films(root: Path | str, protocol: str = "paper") -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row per clip of `clips.csv`, and one row per missing file.

    trials : clip, actor (the person, as a number where all are numbers), label (from 0, in the order of the names),
             emotion (the name of the label), video_path, audio_path, start and end in seconds of the file, and split
             where the table has it
    problems : clip, path, modality, reason

    Raises InputError where the table is missing or one of its rows is wrong.
    """
    path = Path(root) / TABLE
    table = _read(path)
    sound = table["file"].str.lower().str.endswith(SOUNDS)  # True = no picture
    people, labels = table["person"], table["label"]
    trials = pd.DataFrame(
        {
            "clip": table["clip"] if "clip" in table else _names(table),
            "actor": people.astype(int) if people.map(_is_number).all() else people,
            "emotion": labels,
            "video_path": _paths(path.parent, table["file"].mask(sound, "")),
            "audio_path": _paths(path.parent, table["audio"].where(table["audio"] != "", table["file"])),
            "start": _seconds(path, table, "start", 0.0),
            "end": _seconds(path, table, "end", inf),
        }
    )
    _refuse(path, trials["start"] >= trials["end"], "ends before it starts: give start and end in seconds of its file")
    _refuse(path, trials["clip"].duplicated(), "has the name of an earlier clip: give each its own in a column clip")
    if "split" in table:
        _refuse(path, ~table["split"].isin(SPLITS), f"has another split than {', '.join(SPLITS)}")
        trials["split"] = table["split"]
    trials, problems = _without_missing(trials)
    names = sorted(set(trials["emotion"]), key=int if labels.map(_is_number).all() else None)
    if len(names) < 2:
        existing = f"{len(trials)} clips whose files exist (their paths start at {path.parent})"
        raise InputError(f"{path} lists {existing}, with labels {names}: at least two labels are expected")
    return trials.assign(label=trials["emotion"].map(names.index)), problems


def _read(path: Path) -> pd.DataFrame:
    """The table as text, "" where a cell is empty. Raises InputError where it is missing or incomplete."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # pandas raises ValueErrors
        reason = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read as a table with columns {', '.join(REQUIRED)}: {reason}") from None
    table = table.rename(columns=lambda name: str(name).strip().lower()).apply(lambda column: column.str.strip())
    check_names(path, list(table), REQUIRED, OPTIONAL)
    for name in {*REQUIRED, "clip"} & set(table):
        _refuse(path, table[name] == "", f"has no {name}")
    return table if "audio" in table else table.assign(audio="")


def _refuse(path: Path, is_wrong: pd.Series, reason: str) -> None:
    """Raises InputError with the first line for which `is_wrong` is True, and the reason."""
    if is_wrong.any():
        raise InputError(f"line {is_wrong.argmax() + 2} of {path} {reason}")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _names(table: pd.DataFrame) -> pd.Series:
    """The path of each file without its suffix, plus `@` and the start in seconds where a file has several clips."""
    names = table["file"].map(lambda file: Path(file).with_suffix("").as_posix())
    return names.where(~names.duplicated(keep=False) | ("start" not in table), names + "@" + table.get("start", ""))


def _paths(folder: Path, files: pd.Series) -> pd.Series:
    return files.map(lambda file: path_text(folder / file) if file else "")


def _seconds(path: Path, table: pd.DataFrame, name: str, default: float) -> pd.Series:
    """A column of seconds from 0; `default` where a cell is empty or the column is missing."""
    if name not in table:
        return pd.Series(default, table.index)
    seconds = pd.to_numeric(table[name], errors="coerce")
    _refuse(path, (table[name] != "") & ~seconds.between(0, inf, "left"), f"has no number of seconds as its {name}")
    return seconds.fillna(default)


def _without_missing(trials: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The trials that have at least one existing file, and a row for each missing file."""
    trials, missing = trials.copy(), {}  # (clip, path) -> the modalities that it was to have
    for modality in ("audio", "video"):
        for row, file in trials[f"{modality}_path"].items():
            if file and not path_of(file).is_file():
                missing.setdefault((trials["clip"][row], file), []).append(modality)
                trials.loc[row, f"{modality}_path"] = ""
    reason = f"{TABLE} names this file, but it does not exist"
    problems = [(clip, file, " and ".join(modalities), reason) for (clip, file), modalities in missing.items()]
    has_file = (trials["video_path"] != "") | (trials["audio_path"] != "")
    return trials[has_file].reset_index(drop=True), pd.DataFrame(problems, columns=PROBLEM_COLUMNS)
