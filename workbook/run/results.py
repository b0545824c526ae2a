"""The results of many runs: their table, and the figure that compares them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from workbook import OUTPUTS, InputError
from workbook.data.datasets import DATASETS
from workbook.files import atomic_write, write_table
from workbook.run.claim import PIPELINE, is_claimed
from workbook.run.parameters import Parameters, run_name
from workbook.run.run_folder import LOG, read_record, state_of
from workbook.run.run_name import UNNAMED
from workbook.task import AVERAGED

CONDITIONS = (*AVERAGED, "M")
ERRORS = tuple(f"MAE {name}" for name in CONDITIONS)  # columns of sentiment alone
TEXTS = ("settings", "dropout", "fold_scheme")  # columns that are empty in the row "best reachable"
COLUMNS = ("dataset", "system", *TEXTS, "fold", "seed", *CONDITIONS, *ERRORS, "epochs", "minutes")
SHOWN = ("dataset", "system", *TEXTS, "fold", "seed", *CONDITIONS, *ERRORS, "seconds", "device", "commit", "state")
MOST_BARS = 6  # in a group of the comparison's figure; more runs become a coloured table


def all_runs(outputs_root: Path = OUTPUTS) -> pd.DataFrame:
    """A row per run below a folder: state, parameters, system, accuracies and errors, seconds, device, commit, folder.

    The state is done, running, interrupted, `trained, not evaluated`, or failed or damaged with the reason. All is read
    from the run folders, from run.json and metrics.json alone.
    """
    rows = [_any_row(folder) for folder in sorted(outputs_root.glob("*/*/*fold*-seed*"))]
    columns = ["state", *(name for name in Parameters.model_fields if name not in UNNAMED), "system", "settings"]
    columns += [*CONDITIONS, *ERRORS, "seconds", "minutes", "labels", "device", "commit", "started", "folder"]
    frame = pd.DataFrame([row for row in rows if row], columns=columns)
    return frame.astype(dict.fromkeys(("fold", "seed", "epochs", "heads", "labels"), "Int64"))


def where(runs: pd.DataFrame, condition: str) -> pd.DataFrame:
    """The rows of `all_runs` that fulfil a condition, such as `fusion == 'ia' and AV > 80`.

    Raises InputError where it is none.
    """
    try:
        fulfilled = runs.eval(condition)
        if not pd.api.types.is_bool_dtype(fulfilled):
            raise TypeError("it is neither true nor false")
        return runs[fulfilled.fillna(False)]
    except Exception as error:  # of many kinds
        reason = " ".join(str(error).split())
        raise InputError(
            f"{condition!r} is no condition on runs ({reason}): give one such as \"fusion == 'ia' and AV > 80\", "
            f"with the columns {', '.join(name for name in runs if ' ' not in name)}"
        ) from None


def all_results(outputs_root: Path) -> tuple[pd.DataFrame, list[str]]:
    """The result table of all evaluated runs, and a line for each run that is not done: its state, or its error."""
    runs = all_runs(outputs_root)
    evaluated = runs[runs["minutes"].notna() & runs[[*CONDITIONS]].notna().any(axis=1)]
    unfinished = runs[runs["state"] != "done"]
    return _table(evaluated), [f"{folder}: {state}" for folder, state in unfinished[["folder", "state"]].to_numpy()]


def result_table(folders: Iterable[Path]) -> pd.DataFrame:
    """A row per run: dataset, system (such as IA1), dropout, fold scheme, fold, seed, AV, A, V, M, epochs, minutes.

    AV, A, V and M are accuracies in percent; for sentiment, those of the sign, with mean absolute errors beside them
    (MAE AV, …). A column `settings` names parameters that are not defaults, such as `lr0.01`. Toy datasets have a last
    row with the best reachable accuracies; where a corpus needs attention, also one with the best AV without.
    """
    return _table(pd.DataFrame([_result(Path(folder)) for folder in folders], columns=[*COLUMNS, "labels"]))


def _table(rows: pd.DataFrame) -> pd.DataFrame:
    """The result table of these rows of `all_runs`."""
    from workbook.evaluate.metrics import best_reachable  # imports scikit-learn, which `all_runs` does not need

    table = rows.reindex(columns=COLUMNS).reset_index(drop=True)
    for dataset, classes in dict.fromkeys(rows[["dataset", "labels"]].itertuples(index=False, name=None)):
        best = best_reachable(dataset, classes)
        if best:
            names = {"dataset": dataset, "system": "best reachable"} | dict.fromkeys(TEXTS, "")
            without = {"system": "expected without attention", "AV": best.pop("without attention", None)}
            table.loc[len(table)] = dict.fromkeys(COLUMNS) | names | best
            if without["AV"]:
                table.loc[len(table)] = dict.fromkeys(COLUMNS) | names | without
    numbers = dict.fromkeys((*CONDITIONS, *ERRORS, "minutes"), "float64")
    table = table.astype(numbers | dict.fromkeys(("fold", "seed", "epochs"), "Int64"))
    empty = [] if table[[*ERRORS]].notna().any(axis=None) else [*ERRORS]
    return table.drop(columns=empty + ([] if table["settings"].any() else ["settings"]))


def _any_row(folder: Path) -> dict[str, Any]:
    """A row of `all_runs`, whatever the folder holds; {} where it holds no run."""
    place = {"folder": str(folder), "dataset": folder.parents[1].name, "system": folder.parent.name}
    try:
        record = read_record(folder)
        if record is not None:
            row = _recorded(folder, record)
            try:
                return row | _measured(folder)
            except FileNotFoundError:
                return row | ({"state": "trained, not evaluated"} if row["state"] == "done" else {})
        if (folder / LOG).exists():  # it has ended, or is at work, before training
            last = (folder / LOG).read_text(encoding="utf-8").splitlines()[-1]
            return place | {"state": "running" if is_claimed(folder, PIPELINE) else last}
        return {}
    except InputError as error:
        return place | {"state": f"damaged: {error}"}


def _recorded(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """What the record of a run says, as a row of `all_runs`."""
    parameters, git = record["parameters"], record.get("git") or {}
    row = {name: value for name, value in parameters.items() if name not in UNNAMED} | _system(parameters)
    seconds = sum(record["seconds"].values())
    row |= {"state": state_of(record, folder), "folder": str(folder), "labels": len(record.get("labels", ()))}
    row |= {"seconds": seconds, "minutes": seconds / 60, "started": record["started"], "device": record.get("device")}
    return row | {"commit": git.get("commit", "")[:7] + ("+" if git.get("dirty") else "")}


def _measured(folder: Path) -> dict[str, float]:
    """The accuracies, and the errors of sentiment, of an evaluated run; FileNotFoundError for another run."""
    text = (folder / "metrics.json").read_text(encoding="utf-8")
    try:
        metrics, row = json.loads(text), {}
        for name, values in (metrics["conditions"] | {"M": metrics["M"]}).items():
            row |= {name: values.get("accuracy"), f"MAE {name}": values.get("mae")}
        return row
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{folder / 'metrics.json'} is damaged: evaluate the run again") from None


def _result(folder: Path) -> dict[str, Any]:
    """The row of one run; InputError where it was not evaluated."""
    try:
        measured = _measured(folder)
    except FileNotFoundError:
        raise InputError(f"{folder} is no evaluated run: metrics.json is missing") from None
    record = read_record(folder)
    if record is None:
        raise InputError(f"{folder} is no evaluated run: run.json is missing")
    return _recorded(folder, record) | measured


def _system(parameters: dict[str, Any]) -> dict[str, str]:
    """The columns system, such as `IA1 dense` in the paper, and settings. Without attention there are no heads."""
    name, fusion = run_name(parameters), parameters["fusion"]
    system = fusion if fusion in ("audio", "video", "concat") else name.system[0].upper()
    return {"system": " ".join([system, *name.system[1:]]), "settings": " ".join(name.settings)}


def comparison(folders: Iterable[Path], out: Path) -> Path:
    """Writes comparison.png (AV, A, V and M for each system and kind of dropout) to `out` and returns its path.

    Also writes the result table there, as comparison.csv and comparison.md. All runs are on one dataset.
    """
    from workbook import plots

    folders = list(folders)
    table = result_table(folders)
    write_table(out / "comparison.csv", table)
    with atomic_write(out / "comparison.md") as temporary:
        temporary.write_text(as_markdown(table), encoding="utf-8")

    runs = table[table["fold"].notna()]
    datasets = runs["dataset"].unique()
    best = table[table["fold"].isna()].drop_duplicates("dataset")
    reachable = dict(best[[*CONDITIONS]].iloc[0]) if len(best) == len(datasets) == 1 else None
    without = table["AV"][table["system"] == "expected without attention"]
    if reachable and len(without):
        reachable["without attention"] = without.iloc[0]
    scores = _long(runs)
    if scores["dropout"].nunique() > MOST_BARS:
        ax = plots.score_table(scores)
    else:
        ax = plots.conditions(scores, reachable=reachable, chance=_chance(folders))
    title = ", ".join(DATASETS[name].title if name in DATASETS else name for name in datasets)
    if scores["dropout"].nunique() <= MOST_BARS:
        title += f": {', '.join(dict.fromkeys(runs['system']))}"
    ax.figure.suptitle(title)
    return plots.save(ax, out / "comparison.png")


def _long(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns dropout, condition, accuracy; of several systems or settings, `dropout` names all that differs."""
    differing = [name for name in ("system", "settings", "dropout") if name in runs and runs[name].nunique() > 1]
    if {"system", "settings"} & set(differing):
        named = runs[differing].agg(" ".join, axis=1).str.strip()
        runs = runs.assign(dropout=named.where(named != "", runs["dropout"]))
    return runs.melt("dropout", CONDITIONS, var_name="condition", value_name="accuracy").dropna()


def _chance(folders: Iterable[Path]) -> float | None:
    """The accuracy of guessing in percent; None where runs have different numbers of classes, or sentiment."""
    outputs = {read_record(folder)["network"]["classes"] for folder in folders}
    return 100 / outputs.pop() if len(outputs) == 1 and outputs != {1} else None


def as_text(table: pd.DataFrame) -> str:
    """The result table in aligned columns, one decimal (errors: three), empty where there is no value."""
    return _cells(table).to_string(index=False)


def as_markdown(table: pd.DataFrame) -> str:
    """The result table as a Markdown table."""
    sides = ["--:" if pd.api.types.is_numeric_dtype(kind) else ":--" for kind in table.dtypes]
    rows = [list(table.columns), sides, *_cells(table).to_numpy().tolist()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cells(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text."""
    return pd.DataFrame({name: [_cell(value, 3 if name in ERRORS else 1) for value in table[name]] for name in table})


def _cell(value: Any, decimals: int) -> str:
    if pd.isna(value):
        return ""
    return f"{value:.{decimals}f}" if isinstance(value, float) else str(value)
