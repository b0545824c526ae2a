"""Studies of trained runs: all folds of a system stand in one table; each run's folder keeps its predictions."""

from collections.abc import Callable, Iterable
from glob import glob
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from workbook import InputError, plots
from workbook.evaluate.conditions import Intact
from workbook.evaluate.statistics import Systems
from workbook.run.parameters import absolute_path
from workbook.run.reopen import TrainedRun, open_trained
from workbook.studies import STUDIES, predictions
from workbook.studies.calibration import at_bound, temperature, with_temperature
from workbook.studies.estimates import select
from workbook.train.batches import Clips

Runs = dict[str, list[TrainedRun]]  # the folds and seeds of each system, by its name
FOLDER = "studies"  # of a run: predictions by study; of the first run also the tables of results


class StudyResult(NamedTuple):
    """The result of a study."""

    name: str  # of the study
    systems: Systems  # predictions
    conditions: list
    table: pd.DataFrame  # results; empty where the study does not fit the data
    sentence: str  # a line for each system, or why it does not fit


def open_systems(patterns: Iterable[str | Path], **options) -> Runs:
    """The trained runs in folders, grouped into systems: runs in the same folder are of one system.

    patterns : as in `matching_runs`      options : device and data_root, as in `open_trained`
    Names are short, such as `ia1 softhard`, without what all systems share.
    Raises InputError where a pattern fits no run, for runs of different datasets or labels, and where no test clip has
    both modalities.
    """
    runs = [open_trained(folder, **options) for folder in matching_runs(patterns)]
    if alone := [run.folder for run in runs if not len(run.test.with_both)]:
        raise InputError(f"no test clip of {alone[0]} has both modalities: a study takes one of the two away")
    datasets = {(run.parameters.dataset, run.task.names): run.parameters.dataset for run in runs}
    if len(datasets) > 1:
        raise InputError(f"only runs of one dataset are compared, not {' and '.join(sorted(datasets.values()))}")
    tags = {run.folder.parent: run.folder.parent.name.split("-") for run in runs}  # such as ia1, frozen, softhard
    shared = set.intersection(*map(set, tags.values())) if len(tags) > 1 else set()
    systems: Runs = {}
    for run in runs:
        system, *rest = tags[run.folder.parent]
        systems.setdefault(" ".join([system, *(tag for tag in rest if tag not in shared)]), []).append(run)
    return systems


def matching_runs(patterns: Iterable[str | Path]) -> list[Path]:
    """The folders of the runs that fit the patterns, each once.

    patterns : folders, or patterns such as `outputs/toy/lt1-*/fold*-seed1`; relative ones start at the workbook
    Raises InputError where a pattern fits no run.
    """
    folders: dict[Path, None] = {}
    for path in (absolute_path("run", pattern) for pattern in patterns):
        records = sorted([path / "run.json"] if (path / "run.json").exists() else glob(f"{path}/run.json"))
        if not records:
            raise InputError(f"{path} is no run: give the folder of a trained run, or a pattern that fits some")
        folders |= dict.fromkeys(Path(record).parent for record in records)
    return list(folders)


def run_study(runs: Runs, name: str, conditions: Callable | None = None) -> StudyResult:
    """The result of a study of some systems, on their test clips; its table is kept in the first run's folder.

    name : of the study, in STUDIES; each run's folder keeps its predictions, and a later call goes on from there
    conditions : clips -> another version of the study's conditions; None = its own
    Raises InputError where another process works on a run.
    """
    make, systems, by_name = conditions or STUDIES[name].conditions, {}, {}
    for system, folds in runs.items():
        tables = []
        for run in folds:
            try:
                own = make(run.test)
            except InputError as error:
                return StudyResult(name, {}, [], pd.DataFrame(), f"Left out: {error}.")
            by_name |= {condition.name: condition for condition in own}
            tables.append(_predictions(run, name, run.test, own).assign(seed=run.parameters.seed))
        systems[system] = pd.concat(tables)
    return evaluate_study(runs, name, systems, list(by_name.values()))


def evaluate_study(runs: Runs, name: str, systems: Systems, conditions: list, file: str = "") -> StudyResult:
    """The result of a study on predictions; its table is kept in the first run's folder, as `<name>-table.parquet`.

    file : another name in that file's
    """
    table = STUDIES[name].table(systems, conditions)
    _first(runs).save(f"{FOLDER}/{file or name}-table.parquet", table)
    return StudyResult(name, systems, conditions, table, STUDIES[name].sentence(table))


def draw_study(runs: Runs, result: StudyResult, **options) -> Figure | None:
    """The figure of a result, saved in the first run's folder; None where the study does not fit the data.

    options : of the plotting function
    """
    if result.table.empty:
        return None
    figure = getattr(plots, f"study_{result.name}")(result.table, **options)
    return _first(runs).save(f"degrade-{result.name}.png", figure)


def with_temperatures(runs: Runs, systems: Systems) -> Systems:
    """The same predictions with the logits of each run divided by a temperature, fitted on its validation clips.

    Names of systems become such as `ia1 none, T 1.82`, with the mean temperature of the runs. ` (a bound)` follows
    where a run's is the lowest or highest that is tried.
    """
    calibrated = {}
    for system, folds in runs.items():
        parts, temperatures = [], []
        for run in folds:
            temperatures.append(temperature(_predictions(run, "validation", run.validation, [Intact()])))
            table = select(systems[system], fold=run.parameters.fold, seed=run.parameters.seed)
            parts.append(with_temperature(table, temperatures[-1]))
        bound = " (a bound)" if any(map(at_bound, temperatures)) else ""
        mean = sum(temperatures) / len(temperatures)
        calibrated[f"{system}, T {mean:.2f}{bound}"] = pd.concat(parts, ignore_index=True)
    return calibrated


def _predictions(run: TrainedRun, name: str, clips: Clips, conditions: list) -> pd.DataFrame:
    """The predictions of a run; those that its folder keeps are not made again."""
    path = run.folder / FOLDER / f"{name}.parquet"
    with run.stage(FOLDER):
        return predictions(run.network, clips, conditions, fold=run.parameters.fold, seed=0, path=path)


def _first(runs: Runs) -> TrainedRun:
    return next(iter(runs.values()))[0]
