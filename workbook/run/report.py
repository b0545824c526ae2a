"""What a report is made of: the evaluated runs below a folder, in sections that never mix, and its files."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from workbook import InputError
from workbook.data.datasets import DATASETS
from workbook.data.folds import FOLDS
from workbook.data.ravdess import EMOTIONS
from workbook.evaluate.paper_tables import (
    Systems,
    as_latex,
    as_markdown,
    as_wide,
    in_order,
    score_systems,
    table_cells,
)
from workbook.files import atomic_write, write_table
from workbook.run.parameters import CHOICES, run_name, usual_values
from workbook.run.results import CONDITIONS, all_runs
from workbook.run.run_folder import read_record
from workbook.run.run_name import PLACED, UNNAMED

OF_SYSTEM = ("dense_head", "audio_features")  # named with the system, all else in the settings
KEY = ["dataset", "title", "settings", "fold_scheme", "fingerprint", "paper"]  # what the runs of a section share
COLUMNS = ["system", "dropout", "fold", "seed", "train_minutes", "folder"]


@dataclass(frozen=True)
class Section:
    """Runs that may stand in one table: the same dataset, data, settings and fold scheme."""

    dataset: str
    title: str  # of the data, with a file's name where it is one of your own
    settings: str  # parameters that are not the dataset's defaults, such as `epochs 20, learning_rate 0.01`
    fold_scheme: str
    fingerprint: str  # of the data; see `_data`
    paper: str  # whose numbers stand beside: ravdess, mosei, or "" for none
    runs: pd.DataFrame = field(repr=False)  # COLUMNS
    systems: Systems = field(repr=False)  # predictions by system and dropout, all folds

    @property
    def origin(self) -> str:
        """toy | real"""
        return "toy" if DATASETS[self.dataset].truth else "real"

    @property
    def folds(self) -> int:
        """How many folds the fold scheme has."""
        return FOLDS[self.fold_scheme]

    @property
    def heading(self) -> str:
        """What the data are: real or toy, and whether the paper had them."""
        other = " (not the paper's input)" if self.paper and self.paper != self.dataset else ""
        return f"{self.origin.upper()} DATA: {self.title}{other}"

    @property
    def details(self) -> str:
        """The fold scheme and the settings."""
        return f"fold scheme {self.fold_scheme}; {self.settings or 'default settings'}"

    @property
    def name(self) -> str:
        """A name for a folder."""
        words = "-".join("".join(c if c.isalnum() or c in ".-" else " " for c in self.settings).split())
        return "-".join(filter(None, [self.dataset, self.fold_scheme, words, self.fingerprint[:4]]))

    @property
    def fused(self) -> Systems:
        """Its systems without the audio branch alone."""
        return {name: table for name, table in self.systems.items() if name not in self.audio}

    @property
    def audio(self) -> Systems:
        """The audio branch alone, by its features and dropout."""
        return {name: table for name, table in self.systems.items() if name[0].split()[0] == "audio"}

    def tables(self, **settings: Any) -> dict[str, pd.DataFrame]:
        """The cells of each printed table that its systems belong to, by name (II | III).

        settings : resamples, seed, as in `workbook.evaluate.statistics.intervals`
        """
        if not self.fused:
            return {}
        found = score_systems(self.fused, **settings)
        dense = found["system"].str.contains("dense|MULT")
        parts = {"III": found[dense], "II": found[~dense]} if self.paper == "mosei" else {"II": found}
        return {table: table_cells(rows, table, self.paper) for table, rows in sorted(parts.items()) if len(rows)}


def sections(outputs_root: Path) -> list[Section]:
    """All evaluated runs below a folder, in sections: first the paper's data, then other real data, then toys.

    Raises InputError where there is none, and where predictions are missing or damaged.
    """
    runs = all_runs(outputs_root)
    evaluated = runs[runs["labels"].notna() & runs[[*CONDITIONS]].notna().any(axis=1)]
    rows = pd.DataFrame([_described(Path(folder)) for folder in evaluated["folder"]])
    if rows.empty:
        raise InputError(f"no evaluated run under {outputs_root}: `avlib run params/demo.yaml` makes some")
    found = [_section(dict(zip(KEY, values, strict=True)), own) for values, own in rows.groupby(KEY)]
    return sorted(found, key=lambda section: (section.origin == "toy", section.paper != section.dataset, section.name))


def overview(found: Iterable[Section]) -> pd.DataFrame:
    """A row per section: what it is, its systems, runs and actors, and how many of their folds are done."""
    rows = []
    for section in found:
        actors = pd.concat(section.systems.values())["actor"].nunique()
        done = section.runs[["system", "dropout", "fold"]].drop_duplicates()
        complete = f"{len(done)} of {len(section.systems) * section.folds}"
        row = {"data": section.heading, "settings": section.details, "systems and dropouts": len(section.systems)}
        rows.append(
            row
            | {
                "folds of these": complete,
                "runs": len(section.runs),
                "actors": actors,
                "fingerprint": section.fingerprint[:4],
            }
        )
    return pd.DataFrame(rows)


def training_share(runs: pd.DataFrame, dropout: str, than: str) -> float:
    """The time of a training with one dropout as a share of that with another: the median over pairs of runs.

    runs : of a section. A pair has the same system, fold and seed; where there is none, the share is NaN.
    """
    minutes = runs.pivot_table("train_minutes", ["system", "fold", "seed"], "dropout")
    pairs = minutes.reindex(columns=[dropout, than]).dropna()
    return (pairs[dropout] / pairs[than]).median()


def _described(folder: Path) -> dict[str, Any]:
    """What decides about a run's section, and its place there."""
    record = read_record(folder)
    parameters = record["parameters"]
    dataset, usual = DATASETS[parameters["dataset"]], usual_values(parameters["dataset"], parameters["fusion"])
    named = (*UNNAMED, *PLACED, *OF_SYSTEM, "data_root")
    other = [name for name in usual if name not in named and str(parameters[name]) != str(usual[name])]
    parts, features = run_name(parameters).system, ("dense", *CHOICES["audio_features"])
    fusion = parameters["fusion"]
    first = fusion if fusion in ("audio", "video", "concat") else parts[0].upper()
    own_file = parameters["dataset"] == "features"
    return {
        "dataset": parameters["dataset"],
        "title": f"features in {Path(parameters['data_root']).name}" if own_file else dataset.title,
        "settings": ", ".join(f"{name} {Path(str(parameters[name])).name}" for name in other),
        "fold_scheme": parameters["fold_scheme"],
        "fingerprint": _data(parameters, record),
        "paper": _paper(parameters, record),
        "system": " ".join([first, *(part for part in parts[1:] if part in features)]),
        "train_minutes": record["seconds"].get("train", 0) / 60,
        "folder": str(folder),
    } | {name: parameters[name] for name in ("dropout", "fold", "seed")}


def _data(parameters: dict[str, Any], record: dict[str, Any]) -> str:
    """What tells the data of a run from other data: the fingerprint of its store.

    Of the audio branch alone it is a hash of the corpus's path, since each kind of audio features has its own store.
    """
    if parameters["fusion"] != "audio":
        return record["fingerprint"]
    return hashlib.sha256(str(parameters["data_root"]).encode()).hexdigest()[:12]


def _paper(parameters: dict[str, Any], record: dict[str, Any]) -> str:
    """The dataset of the paper's tables whose numbers may stand beside those of a run; "" where there is none.

    Features of a file count as RAVDESS's if they have its emotions and the paper's folds of its actors.
    """
    dataset, scheme = DATASETS[parameters["dataset"]], parameters["fold_scheme"]
    if dataset.paper_folds:
        return parameters["dataset"] if scheme == dataset.paper_folds else ""
    alike = not dataset.truth and scheme == "paper" and set(record.get("labels", ())) == set(EMOTIONS)
    return "ravdess" if alike else ""


def _section(shared: dict[str, str], runs: pd.DataFrame) -> Section:
    systems = {}
    for name, own in runs.sort_values(["fold", "seed"]).groupby(["system", "dropout"]):
        seeds = own.groupby("fold").size().min()  # each clip has to stand as often: as many seeds of each fold
        tables = [_predictions(folder) for folder in own.groupby("fold").head(seeds)["folder"]]
        systems[name] = pd.concat(tables, ignore_index=True)
    return Section(**shared, runs=runs[COLUMNS].reset_index(drop=True), systems=in_order(systems))


def _predictions(folder: str) -> pd.DataFrame:
    path = Path(folder) / "predictions.parquet"
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError):
        raise InputError(f"{path} is missing or damaged: evaluate the run again") from None


def write_report(
    out: Path, section: Section, cells: dict[str, pd.DataFrame], tables: dict[str, pd.DataFrame], answers: str
) -> list[Path]:
    """The files of a section, written into a folder of its own; figures are there already.

    cells : its tables, as `Section.tables` makes them: each as CSV, with all decimals, Markdown and LaTeX
    tables : others by name, as CSV, unless they are empty      answers : what the claims came to, in Markdown
    """
    folder = out / section.name
    for table, rows in cells.items():
        write_table(folder / f"table-{table}.csv", rows)
        for metric in dict.fromkeys(rows["metric"]):
            wide, stem = as_wide(rows, section.folds, metric), f"table-{table}-{metric}"
            caption = f"{section.heading}. {metric.capitalize()}; {section.details}."
            _write_text(folder / f"{stem}.md", f"{caption}\n\n{as_markdown(wide)}")
            _write_text(folder / f"{stem}.tex", as_latex(wide, caption, f"tab:{section.dataset}-{table}-{metric}"))
    for name, table in tables.items():
        if len(table):
            write_table(folder / f"{name}.csv", table)
    _write_text(folder / "claims.md", f"{section.heading}; {section.details}\n\n{answers}\n")
    return sorted(folder.iterdir())


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
