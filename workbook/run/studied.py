"""Studies of trained runs: the folds of a system stand in one table, and each run's folder keeps what was tried."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbook import ROOT, InputError, plots
from workbook.evaluate.conditions import Intact
from workbook.evaluate.statistics import Systems
from workbook.files import write_table
from workbook.run.reopen import TrainedRun, open_trained
from workbook.studies import STUDIES, predictions
from workbook.studies.calibration import at_bound, temperature, with_temperature
from workbook.studies.estimates import select

Runs = dict[str, list[TrainedRun]]  # the folds and seeds of each system, by its name
FOLDER = "studies"  # of a run: tables of predictions by study; of the first run also the tables of results


class Answer(NamedTuple):
    """What a study has found."""

    name: str  # of the study
    systems: Systems  # predictions
    conditions: list
    table: pd.DataFrame  # results; empty where the study does not fit the data
    sentence: str  # a line for each system, or why it does not fit


def open_runs(patterns: Iterable[str | Path], **given) -> Runs:
    """The trained runs in folders, grouped into systems: runs in the same folder are of one system.

    patterns : folders, or patterns such as `outputs/toy/lt1-*/fold*-seed1`; relative ones start at the workbook
    given : device and data_root, as in `open_trained`
    Raises InputError where a pattern fits no run, and for runs of different datasets or labels.
    """
    runs = [open_trained(folder, **given) for folder in run_folders(patterns)]
    kinds = {(run.parameters.dataset, run.task.names) for run in runs}
    if len(kinds) > 1:
        raise InputError(
            f"only runs of one dataset are compared, not {' and '.join(sorted(name for name, _ in kinds))}"
        )
    names = system_names(list(dict.fromkeys(run.folder.parent.name for run in runs)))
    systems: Runs = {name: [] for name in names.values()}
    for run in runs:
        systems[names[run.folder.parent.name]].append(run)
    return systems


def run_folders(patterns: Iterable[str | Path]) -> list[Path]:
    """The folders of the runs that fit the patterns, each once; patterns and errors as in `open_runs`."""
    folders: dict[Path, None] = {}
    for pattern in patterns:
        whole = ROOT / Path(pattern).expanduser()
        found = [path.parent for path in sorted(Path(whole.anchor).glob(f"{whole.relative_to(whole.anchor)}/run.json"))]
        if not found:
            raise InputError(f"{whole} is no run: give the folder of a trained run, or a pattern that fits some")
        folders |= dict.fromkeys(found)
    return list(folders)


def system_names(folders: list[str]) -> dict[str, str]:
    """A short name for each folder of a system, such as `ia1 softhard`: what all have in common is left out.

    A folder is named such as `ia1-frozen-softhard-pretrained`. One alone keeps its name.
    """
    parts = {folder: folder.split("-") for folder in folders}
    shared = set.intersection(*map(set, parts.values())) if len(parts) > 1 else set()
    return {
        folder: " ".join(part for place, part in enumerate(found) if place == 0 or part not in shared)
        for folder, found in parts.items()
    }


def ask(runs: Runs, name: str, conditions: Callable | None = None, seed: int = 0) -> Answer:
    """What a study finds about some systems, on their test clips; its table is kept in the first run's folder.

    name : of the study, in STUDIES; what was tried on a run is kept in its folder, and a later call goes on from there
    conditions : clips -> those of the study in another version; None = its own
    Raises InputError where another process works on a run.
    """
    study, systems, met = STUDIES[name], {}, {}
    try:
        asked = {run.folder: (conditions or study.conditions)(run.test) for folds in runs.values() for run in folds}
    except InputError as error:
        return Answer(name, {}, [], pd.DataFrame(), f"Left out: {error}.")
    for system, folds in runs.items():
        systems[system] = pd.concat(
            [_tried(run, name, run.test, asked[run.folder], seed).assign(seed=run.parameters.seed) for run in folds]
        )
    for found in asked.values():
        met |= {condition.name: condition for condition in found}
    return answer(runs, name, systems, list(met.values()))


def answer(runs: Runs, name: str, systems: Systems, conditions: list, keep: str = "") -> Answer:
    """What a study finds in predictions; its table is kept in the first run's folder, as `<name>-table.parquet`.

    keep : another name for that file
    """
    table = STUDIES[name].table(systems, conditions)
    write_table(_first(runs).folder / FOLDER / f"{keep or name}-table.parquet", table)
    return Answer(name, systems, conditions, table, STUDIES[name].sentence(table))


def draw(runs: Runs, answer: Answer, keep: str = "", **how) -> Figure | None:
    """The figure of an answer, saved in the first run's folder; None where the study did not fit the data.

    keep : another name for that file      how : arguments of the plotting function
    """
    if answer.table.empty:
        return None
    figure: Figure | Axes = getattr(plots, f"study_{answer.name}")(answer.table, **how)
    plots.save(figure, _first(runs).figure(f"degrade-{keep or answer.name}.png"))
    return figure.figure


def with_temperatures(runs: Runs, systems: Systems, seed: int = 0) -> Systems:
    """The same predictions with the logits of each run divided by a temperature, fitted on its validation clips.

    Names of systems become such as `ia1 none, T 1.82`, with the mean temperature of the runs. ` (a bound)` follows
    where a run's is the lowest or highest that is tried.
    """
    mended = {}
    for system, folds in runs.items():
        parts, found = [], []
        for run in folds:
            found.append(temperature(_tried(run, "validation", run.validation, [Intact()], seed)))
            own = select(systems[system], fold=run.parameters.fold, seed=run.parameters.seed)
            parts.append(with_temperature(own, found[-1]))
        bound = " (a bound)" if any(map(at_bound, found)) else ""
        mended[f"{system}, T {sum(found) / len(found):.2f}{bound}"] = pd.concat(parts, ignore_index=True)
    return mended


def _tried(run: TrainedRun, name: str, clips, conditions: list, seed: int) -> pd.DataFrame:
    """The predictions of a run, from its folder as far as they are there."""
    path = run.folder / FOLDER / f"{name}.parquet"
    path.parent.mkdir(exist_ok=True)
    with run.stage(FOLDER):
        return predictions(run.network, clips, conditions, fold=run.parameters.fold, seed=seed, path=path)


def _first(runs: Runs) -> TrainedRun:
    return next(iter(runs.values()))[0]
