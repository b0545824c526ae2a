"""The numbers that the paper printed, and ours beside them: Tables II and III, cell by cell."""

from pathlib import Path
from typing import Any

import pandas as pd

from workbook import InputError
from workbook.data.datasets import DATASETS

# What `result_table` calls the systems of a printed table. The paper's have one head where their name has no number;
# those of Table III have MULT's dense layers, and MULT itself has 5 heads. It is printed as MLT there.
SYSTEMS = {
    "II": {name: name for name in ("LT1", "LT4", "IT1", "IT4", "IA1", "IA4")}
    | {name: f"{name}1" for name in ("TAV", "TVA", "MLT")},
    "III": {name: f"{name} dense" for name in ("IT1", "IT4", "IA1", "IA4")} | {"MULT": "MULT5"},
}
PRINTED_TABLES = (("II", "ravdess"), ("II", "mosei"), ("III", "mosei"))  # the printed tables, and their datasets
FILE = Path(__file__).with_name("paper_tables.csv")
RUN = ["dataset", "run", "dropout"]  # what runs of other folds and seeds have in common
PRINTED = ["table", "dataset", "metric", "dropout", "system"]  # a row of the print: AV, A, V and their mean
HALF = {"accuracy": 0.005, "mae": 0.0005}  # of the last printed decimal


def paper_tables() -> pd.DataFrame:
    """Every number of Tables II and III, one row each, in the order of the print.

    table : II | III        dataset : ravdess | mosei        dropout : none | softhard | noise, as the parameter
    metric : accuracy, in percent (of the sign on mosei), or mae, mean absolute error in points of sentiment
    system : as printed, but MULT where Table III prints MLT
    condition : AV | A | V, or M, their mean        value : the number        note : what is odd about it, mostly ""
    """
    return pd.read_csv(FILE, keep_default_na=False)  # the dropout `none` is no missing value


def beside_paper(results: pd.DataFrame) -> pd.DataFrame:
    """The paper's tables with ours: a row per number of `paper_tables`, in its order, whether we have it or not.

    results : as `result_table` makes it; runs of other datasets, systems or fold schemes are left out
    Columns: table, dataset, metric, dropout, system, condition; settings, the parameters that are not the defaults;
    ours, the mean over the folds of the mean over the seeds, NaN where there is no run; folds, how many that are;
    paper; difference, ours less the paper's; note. A number that was run with several settings has a row for each.
    Raises InputError where `results` is another kind of table.
    """
    needed = ["dataset", "system", "dropout", "fold_scheme", "fold"]
    missing = [name for name in needed if name not in results]
    if missing:
        raise InputError(
            f"results has no column {missing[0]}: give a table as workbook.run.results.result_table makes it"
        )
    paper = paper_tables().rename(columns={"value": "paper"})
    paper["run"] = [SYSTEMS[table][system] for table, system in zip(paper["table"], paper["system"], strict=True)]
    paper["measure"] = paper["condition"].where(paper["metric"] == "accuracy", "MAE " + paper["condition"])
    beside = paper.merge(_means(results, paper["measure"].unique()), how="left", on=[*RUN, "measure"])
    beside["difference"] = beside["ours"] - beside["paper"]
    beside["folds"] = beside["folds"].fillna(0).astype(int)
    beside["settings"] = beside["settings"].fillna("")
    return beside[[*PRINTED, "condition", "settings", "ours", "folds", "paper", "difference", "note"]]


def _means(results: pd.DataFrame, measures: list[str]) -> pd.DataFrame:
    """Columns dataset, run (the system as we call it), dropout, settings, measure, ours, folds: what was measured."""
    paper = {name: dataset.paper_folds for name, dataset in DATASETS.items() if dataset.paper_folds}
    counted = results["fold_scheme"] == results["dataset"].map(paper)  # True = on the paper's folds
    runs = results[counted].rename(columns={"system": "run"})
    runs = runs if "settings" in runs else runs.assign(settings="")
    there, own = [name for name in measures if name in runs], [*RUN, "settings"]
    values = runs.melt([*own, "fold"], there, var_name="measure", value_name="ours").dropna(subset="ours")
    folds = values.groupby([*own, "measure", "fold"], as_index=False)["ours"].mean()
    return folds.groupby([*own, "measure"], as_index=False).agg(ours=("ours", "mean"), folds=("fold", "nunique"))


def contradictions() -> pd.DataFrame:
    """The printed numbers that do not agree with the others, found from the numbers alone.

    Columns: table, dataset, metric, dropout, system, condition, printed (as text), expected, what.
    A mean disagrees if it is farther than rounding from the mean of AV, A and V: half of the last decimal, for the mean
    and for its parts. Of a number with a wrong decimal point, `paper_tables` has the right one and its note the print.
    """
    numbers = paper_tables()
    texts = pd.read_csv(FILE, dtype=str, keep_default_na=False)["value"]
    misprint = numbers["note"].str.extract(r"^printed as (\d\.\d+)$")[0]
    numbers["printed"] = misprint.fillna(texts)
    wide = numbers.pivot(index=PRINTED, columns="condition", values="value").reset_index()
    wide["expected"] = wide[["AV", "A", "V"]].mean(axis=1)
    numbers = numbers.merge(wide[[*PRINTED, "expected", "V"]], how="left", on=PRINTED)
    found = [_odd(row) for row in numbers.itertuples()]
    odd = numbers.assign(what=found).query("what != ''")
    odd["expected"] = odd["expected"].where(odd["condition"] == "M", odd["value"])
    return odd[[*PRINTED, "condition", "printed", "expected", "what", "note"]].reset_index(drop=True)


def _odd(row: Any) -> str:
    """What is odd about a printed number; "" where nothing is."""
    decimals = len(row.printed.partition(".")[2])
    usual = {"accuracy": 2, "mae": 3}[row.metric]
    if row.condition == "M" and abs(row.value - row.expected) > 2 * HALF[row.metric] + 1e-9:
        repeats = " and repeats the number under V" if row.value == row.V else ""
        return f"differs from the mean of AV, A and V{repeats}"
    if row.metric == "accuracy" and float(row.printed) < 1:
        return "is a share among percents: the decimal point is wrong"
    return f"has {decimals} decimals, not {usual}" if decimals != usual else ""
