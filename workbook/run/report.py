"""The sections of a report: evaluated runs that may stand in one table, and the baselines beside them."""

import hashlib
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from workbook import InputError
from workbook.data.datasets import DATASETS
from workbook.data.folds import FOLDS
from workbook.data.ravdess import EMOTIONS
from workbook.evaluate.classifiers import predict_without_network
from workbook.evaluate.paper_tables import Systems, in_order, score_systems, table_cells
from workbook.files import write_table
from workbook.run.record import read_predictions
from workbook.run.reopen import open_trained
from workbook.run.results import all_runs, evaluated

log = logging.getLogger(__name__)
KEY = ["dataset", "title", "settings", "fold_scheme", "fingerprint", "paper"]  # shared by the runs of a section


@dataclass(frozen=True)
class Section:
    """Runs that may stand in one table: the same dataset, data, settings and fold scheme."""

    dataset: str
    title: str  # of the data, with the file's name where it is one of your own
    settings: str  # parameters that are not the dataset's defaults, such as `epochs20 lr0.01`
    fold_scheme: str
    fingerprint: str  # of the data; see `_key`
    paper: str  # whose numbers stand beside: ravdess, mosei, or "" for none
    runs: pd.DataFrame = field(repr=False)  # rows of `all_runs`
    systems: Systems = field(repr=False)  # predictions by system and dropout, all folds

    @property
    def origin(self) -> str:
        """toy | real"""
        return "toy" if DATASETS[self.dataset].truth else "real"

    @property
    def folds(self) -> int:
        """The number of folds of the fold scheme."""
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
        parts = [self.dataset, self.fold_scheme, *self.settings.split(), self.fingerprint[:4]]
        return re.sub(r"[^\w.=+-]", "_", "-".join(parts))

    @property
    def fused(self) -> Systems:
        """Its systems without the audio branch alone."""
        return {name: table for name, table in self.systems.items() if name not in self.audio}

    @property
    def audio(self) -> Systems:
        """The audio branch alone, by its features and dropout."""
        return {name: table for name, table in self.systems.items() if name[0].split()[0] == "audio"}

    def tables(self, baselines: Systems | None = None) -> dict[str, pd.DataFrame]:
        """The cells of each printed table that its systems and the baselines belong to, by name (II | III)."""
        if not self.fused:
            return {}
        scores = score_systems(self.fused | (baselines or {}))
        dense = scores["system"].str.contains("dense|MULT")
        parts = {"II": scores[~dense], "III": scores[dense]} if self.paper == "mosei" else {"II": scores}
        return {table: table_cells(rows, table, self.paper) for table, rows in parts.items() if len(rows)}


def sections(outputs_root: Path) -> list[Section]:
    """All evaluated runs below a folder, in sections: first the paper's data, then other real data, then toys.

    Raises InputError where there is none, and where predictions are missing or damaged.
    """
    runs = evaluated(all_runs(outputs_root))
    if runs.empty:
        raise InputError(f"no evaluated run under {outputs_root}: `avlib run params/demo.yaml` makes some")
    keys = pd.DataFrame([_key(run) for run in runs.itertuples()], columns=["title", "fingerprint", "paper"])
    groups = runs.assign(**keys.set_index(runs.index)).groupby(KEY)
    parts = [Section(*key, runs=own.reset_index(drop=True), systems=_systems(own)) for key, own in groups]
    return sorted(parts, key=lambda part: (part.origin == "toy", part.paper != part.dataset, part.name))


def _key(run: Any) -> tuple[str, str, str]:
    """title, fingerprint and paper of a run's section, from its row of `all_runs`.

    The fingerprint is that of the run's store. Each kind of audio features has its own store: for the audio branch
    alone it is a hash of the corpus's path. Features of a file count as RAVDESS's for the paper's numbers if they have
    its emotions and the paper's folds of its actors.
    """
    dataset = DATASETS[run.dataset]
    title = f"features in {Path(run.data_root).name}" if run.dataset == "features" else dataset.title
    path = hashlib.sha256(str(run.data_root).encode()).hexdigest()[:12]
    is_ravdess = not dataset.truth and run.fold_scheme == "paper" and set(run.labels) == set(EMOTIONS)
    paper = "ravdess" if is_ravdess else ""
    if dataset.paper_folds:
        paper = run.dataset if run.fold_scheme == dataset.paper_folds else ""
    return title, path if run.fusion == "audio" else run.fingerprint, paper


def _systems(runs: pd.DataFrame) -> Systems:
    """The predictions of a section by system and dropout; each fold counts with as many seeds as the others."""
    systems = {}
    for name, own in runs.sort_values(["fold", "seed"]).groupby(["system", "dropout"]):
        folds = own.groupby("fold")
        seeds = folds.head(folds.size().min())
        tables = [read_predictions(Path(folder)) for folder in seeds["folder"]]
        systems[name] = pd.concat(tables, ignore_index=True)
    return in_order(systems)


def overview(parts: Iterable[Section]) -> pd.DataFrame:
    """A row per section: what it is, its systems, runs and actors, and how many of their folds are done."""
    rows = []
    for part in parts:
        done = part.runs.groupby(["system", "dropout", "fold"]).ngroups
        row = {"data": part.heading, "settings": part.details, "systems and dropouts": len(part.systems)}
        row |= {"folds of these": f"{done} of {len(part.systems) * part.folds}", "runs": len(part.runs)}
        actors = pd.concat(part.systems.values())["actor"].nunique()
        rows.append(row | {"actors": actors, "fingerprint": part.fingerprint[:4]})
    return pd.DataFrame(rows)


def section_baselines(part: Section, file: Path) -> Systems:
    """Predictions without a network on the folds of a section's runs, as systems without modality dropout.

    file : where they are kept; a later call computes only the folds that it lacks
    Empty for films. Logs which folds are left out: their data are gone or changed.
    """
    runs = part.runs[part.runs["fusion"] != "audio"].drop_duplicates("fold")
    if DATASETS[part.dataset].kind != "features" or runs.empty:
        return {}
    table = pd.read_parquet(file) if file.exists() else pd.DataFrame({"system": [], "fold": []})
    for row in runs[~runs["fold"].isin(table["fold"])].itertuples():
        try:
            run = open_trained(row.folder)
            own = predict_without_network(run.train, run.validation, run.test, fold=run.parameters.fold)
        except InputError as error:
            log.info("fold %d of %s has no rows without a network: %s", row.fold, part.name, error)
        else:
            new = [each.assign(system=name) for name, each in own.items()]
            table = pd.concat([table, *new] if len(table) else new)
            write_table(file, table)
    table = table[table["fold"].isin(runs["fold"])]
    return {(name, "none"): rows.drop(columns="system") for name, rows in table.groupby("system")}
