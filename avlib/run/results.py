"""The results of many runs: their table, and the figure that compares them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from avlib import InputError
from avlib.data.datasets import DATASETS
from avlib.files import atomic_write
from avlib.lab.truth import best_reachable
from avlib.run.names import run_name
from avlib.run.records import parameters_of, read_record, run_state, write_table

CONDITIONS = ("AV", "A", "V", "M")
ERRORS = tuple(f"MAE {name}" for name in CONDITIONS)  # columns of sentiment alone
TEXTS = ("settings", "dropout", "fold_scheme")  # columns that are empty in the row "best reachable"
COLUMNS = ("dataset", "system", *TEXTS, "fold", "seed", *CONDITIONS, *ERRORS, "epochs", "minutes")
MOST_BARS = 6  # in a group of the comparison's figure; more runs become a coloured table


def all_results(outputs_root: Path) -> tuple[pd.DataFrame, list[str]]:
    """The result table of all finished runs, and a line for each other run: its state, or its error."""
    rows, lines = [], []
    for folder in sorted(path.parent for path in outputs_root.glob("*/*/*fold*-seed*/run.json")):
        try:
            state = run_state(folder)
            evaluated = (folder / "metrics.json").exists()
            if evaluated:
                rows.append(_result(folder))
            elif state == "done":
                state = "trained, not evaluated"
            if not evaluated or state != "done":
                lines.append(f"{folder}: {state}")
        except InputError as error:
            lines.append(str(error))
    return _table(rows), lines


def result_table(folders: Iterable[Path]) -> pd.DataFrame:
    """A row per run: dataset, system (such as IA1), dropout, fold scheme, fold, seed, AV, A, V, M, epochs, minutes.

    AV, A, V and M are accuracies in percent; for sentiment, those of the sign, with mean absolute errors beside them
    (MAE AV, …). A column `settings` names parameters that are not defaults, such as `lr0.01`. Toy datasets have a last
    row with the best reachable accuracies; where a corpus needs attention, also one with the best AV without.
    """
    return _table([_result(Path(folder)) for folder in folders])


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The result table of these rows."""
    table = pd.DataFrame(rows, columns=COLUMNS)
    for dataset, classes in dict.fromkeys((row["dataset"], row["labels"]) for row in rows):
        best = best_reachable(dataset, classes)
        if best:
            names = {"dataset": dataset, "system": "best reachable"} | dict.fromkeys(TEXTS, "")
            without = {"system": "best without attention", "AV": best.pop("without attention", None)}
            table.loc[len(table)] = dict.fromkeys(COLUMNS) | names | best
            if without["AV"]:
                table.loc[len(table)] = dict.fromkeys(COLUMNS) | names | without
    numbers = dict.fromkeys((*CONDITIONS, *ERRORS, "minutes"), "float64")
    table = table.astype(numbers | dict.fromkeys(("fold", "seed", "epochs"), "Int64"))
    empty = [] if table[[*ERRORS]].notna().any(axis=None) else [*ERRORS]
    return table.drop(columns=empty + ([] if table["settings"].any() else ["settings"]))


def _result(folder: Path) -> dict[str, Any]:
    """One row of the result table; InputError where the run was not evaluated."""
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        scores = metrics["conditions"] | {"M": metrics["M"]}
        measured = [(name, values.get("accuracy"), values.get("mae")) for name, values in scores.items()]
    except FileNotFoundError:
        raise InputError(f"{folder} is no evaluated run: metrics.json is missing") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{folder / 'metrics.json'} is damaged: evaluate the run again") from None
    record = read_record(folder)
    if record is None:
        raise InputError(f"{folder} is no evaluated run: run.json is missing")
    parameters = parameters_of(record)
    row = {name: parameters[name] for name in ("dataset", "dropout", "fold_scheme", "fold", "seed", "epochs")}
    row |= _system(parameters) | {"labels": len(record.get("labels", ()))}
    for name, accuracy, mae in measured:
        row |= {name: accuracy, f"MAE {name}": mae}
    return row | {"minutes": sum(record["seconds"].values()) / 60}


def _system(parameters: dict[str, Any]) -> dict[str, str]:
    """The columns system, such as `IA1 dense` in the paper, and settings. Without attention there are no heads."""
    name, fusion = run_name(parameters), parameters["fusion"]
    system = fusion if fusion in ("audio", "video", "concat") else name.system[0].upper()
    return {"system": " ".join([system, *name.system[1:]]), "settings": " ".join(name.settings)}


def comparison(folders: Iterable[Path], out: Path) -> Path:
    """Writes comparison.png (AV, A, V and M for each system and kind of dropout) to `out` and returns its path.

    Also writes the result table there, as comparison.csv and comparison.md. All runs are on one dataset.
    """
    from avlib.lab import plots

    folders = list(folders)
    table = result_table(folders)
    write_table(out / "comparison.csv", table)
    with atomic_write(out / "comparison.md") as temporary:
        temporary.write_text(as_markdown(table), encoding="utf-8")

    runs = table[table["fold"].notna()]
    datasets = runs["dataset"].unique()
    best = table[table["fold"].isna()].drop_duplicates("dataset")
    reachable = dict(best[[*CONDITIONS]].iloc[0]) if len(best) == len(datasets) == 1 else None
    without = table["AV"][table["system"] == "best without attention"]
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
    """Columns dropout, condition, accuracy; where there are several systems, the dropout's name begins with theirs."""
    for name in ("settings", "system"):
        if name in runs and runs[name].nunique() > 1:
            runs = runs.assign(dropout=(runs[name] + " " + runs["dropout"]).str.strip())
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
