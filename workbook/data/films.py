"""Films of your own: a folder with a table `clips.csv` of files, persons and labels (docs/data.md)."""

import codecs
import csv
import io
from math import inf
from pathlib import Path
from unicodedata import normalize

import pandas as pd

from workbook import InputError
from workbook.data.columns import check_names, class_names, people
from workbook.data.store import PROBLEM_COLUMNS
from workbook.data.window import IMAGES
from workbook.files import path_of, path_text
from workbook.text import one_line

TABLE = "clips.csv"
REQUIRED, OPTIONAL = ("file", "person", "label"), ("audio", "start", "end", "clip", "split", "cropped")  # its columns
SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".m4a")  # a `file` with such a suffix has no picture
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # the first bytes of such a file
SPLITS = ("train", "validation", "test")


def read_films(root: Path | str, protocol: str = "paper") -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row per clip of `clips.csv`, and one row per missing file.

    trials : clip, actor (the person, as a number where all are numbers), label (from 0, in the order of the names),
             emotion (the name of the label), video_path, audio_path, start and end in seconds of the file; split, and
             cropped as True or False, where the table has them
    problems : clip, path, modality, reason

    Raises InputError where the table is missing or one of its rows is wrong.
    """
    path = Path(root) / TABLE
    table = _read(path)
    files, suffixes = table["file"], table["file"].str.lower().str
    pictures, tracks = (files.mask(suffixes.endswith(others), "") for others in (SOUNDS, IMAGES))  # "" = none
    trials = pd.DataFrame(
        {
            "clip": table["clip"] if "clip" in table else _names(table),
            "actor": people(path, table["person"]),
            "emotion": table["label"],
            "video_path": pictures.map(lambda file: _path(path.parent, file)),
            "audio_path": table["audio"].where(table["audio"] != "", tracks).map(lambda file: _path(path.parent, file)),
            "start": _seconds(path, table, "start", 0.0),
            "end": _seconds(path, table, "end", inf),
        }
    )
    _refuse(path, trials["start"] >= trials["end"], "ends before it starts: give start and end in seconds of its file")
    _refuse(path, trials["clip"].duplicated(), "has the name of an earlier clip: give each its own in a column clip")
    if "split" in table:
        trials["split"] = table["split"].str.lower()
        _refuse(path, ~trials["split"].isin(SPLITS), f"has another split than {', '.join(SPLITS)}")
    if "cropped" in table:
        words = table["cropped"].str.lower()
        _refuse(path, ~words.isin(("yes", "no", "")), "has another word as cropped than yes or no")
        trials["cropped"] = words == "yes"
    trials, problems = _without_missing(trials)
    names = class_names(path, trials["emotion"])
    if len(names) < 2:
        clips = f"{len(trials)} clips whose files exist (their paths start at {path.parent})"
        raise InputError(f"{path} lists {clips}, with labels {names}: at least two labels are expected")
    return trials.assign(label=trials["emotion"].map(names.index)), problems


def _read(path: Path) -> pd.DataFrame:
    """The table as text, "" where a cell is empty, indexed by line. Raises InputError where it is incomplete.

    Commas, semicolons and tabs may stand between the cells, as in what Excel saves, and empty rows are left out.
    """
    try:
        content = path.read_bytes()
        text = normalize("NFC", content.decode("utf-16" if content[:2] in UTF_16 else "utf-8-sig"))
        divider = max(",;\t", key=text.strip().partition("\n")[0].count)
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=divider, skipinitialspace=True, strict=True)
        lines = ((rows.line_num, [cell.strip() for cell in row]) for row in rows)
        cells = {line: row for line, row in lines if any(row)}
    except (OSError, ValueError, csv.Error) as error:
        hint = "; save it as CSV in UTF-8" if isinstance(error, UnicodeError) else ""
        raise InputError(f"{path} cannot be read as a table: {one_line(error)}{hint}") from None
    header = [name.lower() for name in cells.pop(min(cells, default=0), [])]
    while header and not header[-1]:
        header.pop()
    check_names(path, header, REQUIRED, OPTIONAL)
    for name in {name for name in (*REQUIRED, *OPTIONAL) if header.count(name) > 1}:
        raise InputError(f"{path} has two columns '{name}'")
    table = pd.DataFrame.from_dict(cells, orient="index").fillna("").astype(str)
    is_longer = (table.iloc[:, len(header) :] != "").any(axis=1)
    _refuse(path, is_longer, f"has more cells than the first: quote a cell that holds '{divider}'")
    table = table.reindex(columns=range(len(header)), fill_value="").set_axis(header, axis="columns")
    for name in {*REQUIRED, "clip"} & set(table):
        _refuse(path, table[name] == "", f"has no {name}")
    for name in {"start", "end"} & set(table) if divider != "," else ():
        table[name] = table[name].str.replace(",", ".")
    return table if "audio" in table else table.assign(audio="")


def _refuse(path: Path, is_wrong: pd.Series, reason: str) -> None:
    """Raises InputError with the first line for which `is_wrong`, indexed by line, is True, and the reason."""
    if is_wrong.any():
        raise InputError(f"line {is_wrong.idxmax()} of {path} {reason}")


def _names(table: pd.DataFrame) -> pd.Series:
    """The path of each file without its suffix, plus `@` and the start in seconds where a file has several clips."""
    names = table["file"].map(lambda file: Path(file).with_suffix("").as_posix())
    return names.where(~names.duplicated(keep=False) | ("start" not in table), names + "@" + table.get("start", ""))


def _path(folder: Path, file: str) -> str:
    """The path of a file of the table, which may have backslashes; on the disk its accents may be decomposed."""
    if not file:
        return ""
    plain = file.replace("\\", "/")
    paths = (folder / name for name in (file, plain, normalize("NFD", plain)))
    return path_text(next((path for path in paths if path.exists()), folder / file))


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
