"""The numbers that the paper printed, and ours beside them: Tables II and III, cell by cell."""

from pathlib import Path

import pandas as pd

from avlib import InputError
from avlib.data.datasets import DATASETS

# What `result_table` calls the systems of a printed table. The paper's have one head where their name has no number;
# those of Table III have MULT's dense layers, and MULT itself has 5 heads. It is printed as MLT there.
SYSTEMS = {
    "II": {name: name for name in ("LT1", "LT4", "IT1", "IT4", "IA1", "IA4")}
    | {name: f"{name}1" for name in ("TAV", "TVA", "MLT")},
    "III": {name: f"{name} dense" for name in ("IT1", "IT4", "IA1", "IA4")} | {"MULT": "MULT5"},
}
RUN = ["dataset", "run", "dropout"]  # what runs of other folds and seeds have in common


def paper_tables() -> pd.DataFrame:
    """Every number of Tables II and III, one row each, in the order of the print.

    table : II | III        dataset : ravdess | mosei        dropout : none | softhard | noise, as the parameter
    metric : accuracy, in percent (of the sign on mosei), or mae, mean absolute error in points of sentiment
    system : as printed, but MULT where Table III prints MLT
    condition : AV | A | V, or M, their mean        value : the number        note : what is odd about it, mostly ""
    """
    file = Path(__file__).with_name("paper_tables.csv")
    return pd.read_csv(file, keep_default_na=False)  # the dropout `none` is no missing value


def beside_paper(results: pd.DataFrame) -> pd.DataFrame:
    """The paper's tables with ours: a row per number of `paper_tables`, in its order, whether we have it or not.

    results : as `result_table` makes it; runs of other datasets, systems or fold schemes are left out
    Columns: table, dataset, metric, dropout, system, condition; ours, the mean over the folds of the mean over the
    seeds, NaN where there is no run; folds, how many that are; paper; difference, ours less the paper's; note.
    Raises InputError where `results` is another kind of table.
    """
    needed = ["dataset", "system", "dropout", "fold_scheme", "fold"]
    missing = [name for name in needed if name not in results]
    if missing:
        raise InputError(
            f"results has no column {missing[0]}: give a table as avlib.run.notebooks.result_table makes it"
        )
    paper = paper_tables().rename(columns={"value": "paper"})
    paper["run"] = [SYSTEMS[table][system] for table, system in zip(paper["table"], paper["system"], strict=True)]
    paper["measure"] = paper["condition"].where(paper["metric"] == "accuracy", "MAE " + paper["condition"])
    beside = paper.merge(_means(results, paper["measure"].unique()), how="left", on=[*RUN, "measure"])
    beside["difference"] = beside["ours"] - beside["paper"]
    beside["folds"] = beside["folds"].fillna(0).astype(int)
    names = ["table", "dataset", "metric", "dropout", "system", "condition"]
    return beside[[*names, "ours", "folds", "paper", "difference", "note"]]


def _means(results: pd.DataFrame, measures: list[str]) -> pd.DataFrame:
    """Columns dataset, run (the system as we call it), dropout, measure, ours and folds, of what was measured."""
    paper = {name: dataset.paper_folds for name, dataset in DATASETS.items() if dataset.paper_folds}
    counted = results["fold_scheme"] == results["dataset"].map(paper)  # True = on the paper's folds
    runs = results[counted].rename(columns={"system": "run"})
    there = [name for name in measures if name in runs]
    values = runs.melt([*RUN, "fold"], there, var_name="measure", value_name="ours").dropna(subset="ours")
    folds = values.groupby([*RUN, "measure", "fold"], as_index=False)["ours"].mean()
    return folds.groupby([*RUN, "measure"], as_index=False).agg(ours=("ours", "mean"), folds=("fold", "nunique"))
