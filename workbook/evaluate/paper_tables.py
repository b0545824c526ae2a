"""Tables II and III of the paper: the printed numbers, ours beside them with intervals, and both as text.

Our systems are predictions by name and modality dropout: {("TAV1", "softhard"): all folds of predict(), one below the
other}. Names are those of `workbook.run.results`; the tables have the printed ones, TAV.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from workbook.evaluate.statistics import CONDITIONS, intervals
from workbook.text import in_latex, in_markdown

# The printed name of each of our systems. Printed ones have one head where their name has no number; those of Table III
# have MULT's dense layers, and MULT itself, which Table III prints as MLT, has 5 heads.
SYSTEMS = {
    "II": {name: name for name in ("LT1", "LT4", "IT1", "IT4", "IA1", "IA4")}
    | {f"{name}1": name for name in ("TAV", "TVA", "MLT")},
    "III": {f"{name} dense": name for name in ("IT1", "IT4", "IA1", "IA4")} | {"MULT5": "MULT"},
}
FILE = Path(__file__).with_name("paper_tables.csv")
DROPOUT_ORDER = ("none", "softhard", "noise", "sampled", "learned", "hard", "soft", "unknown")  # first the paper's
KEYS = ["metric", "dropout", "system", "condition"]
OURS = ["value", "low", "high", "actors", "clips", "folds", "seeds"]
WHOSE = {"value": "ours", "paper": "the paper's"}  # columns of cells
DECIMALS = {"accuracy": 1, "mae": 3}  # of ours
PRINTED_DECIMALS = {"accuracy": 2, "mae": 3}
ROW = ["table", "dataset", "metric", "dropout", "system"]  # one row of the print: AV, A, V and their mean M

Systems = dict[tuple[str, str], pd.DataFrame]  # by (system, dropout)


def paper_tables() -> pd.DataFrame:
    """Every number of Tables II and III, one row each, in the order of the print.

    table : II | III        dataset : ravdess | mosei        dropout : none | softhard | noise, as the parameter
    metric : accuracy, in percent (of the sign on mosei), or mae, mean absolute error in points of sentiment
    system : as printed, but MULT where Table III prints MLT
    condition : AV | A | V, or M, their mean        value : the number        note : what is odd about it, mostly ""
    """
    return pd.read_csv(FILE, keep_default_na=False)  # the dropout `none` is no missing value


def contradictions() -> pd.DataFrame:
    """The printed numbers that do not agree with the others: those of `paper_tables` with a note, without `value`.

    printed : the number in print, as text      expected : the mean of AV, A and V where M is odd, else the right number
    """
    numbers = paper_tables()
    means = numbers[numbers["condition"] != "M"].groupby(ROW)["value"].mean().rename("expected")
    odd = numbers.join(means, on=ROW)[numbers["note"] != ""].reset_index(drop=True)
    odd["expected"] = odd["expected"].where(odd["condition"] == "M", odd["value"])
    odd["printed"] = odd["note"].str.extract(r"^printed as (\d\.\d+)$")[0].fillna(odd["value"].astype(str))
    return odd[[*ROW, "condition", "printed", "expected", "note"]]


def in_order(systems: Systems) -> Systems:
    """The same systems in the order of the paper's tables: by dropout, then by name, others last."""
    names = [*SYSTEMS["II"], *SYSTEMS["III"], *sorted({name for name, _ in systems})]
    return dict(sorted(systems.items(), key=lambda item: (DROPOUT_ORDER.index(item[0][1]), names.index(item[0][0]))))


def score_systems(systems: Systems) -> pd.DataFrame:
    """One row per system, dropout, metric and condition, with the columns of `workbook.evaluate.statistics.intervals`.

    metric : accuracy, in percent; for sentiment also mae
    """
    rows = [pd.DataFrame(columns=[*KEYS, *OURS])]
    for (system, dropout), table in systems.items():
        for metric in ("accuracy", "mae") if "value" in table else ("accuracy",):
            rows.append(intervals({system: table}, metric).assign(dropout=dropout, metric=metric))
    return pd.concat(rows[1:] or rows, ignore_index=True)[[*KEYS, *OURS]]


def table_cells(scores: pd.DataFrame, table: str = "II", dataset: str = "") -> pd.DataFrame:
    """The cells of a printed table in its order, ours where there is a run, then our systems that it does not have.

    scores : as `score_systems` makes them      table : II | III
    dataset : whose numbers stand beside, ravdess | mosei; "" = none, and the cells are those of our systems
    Columns: metric, dropout, system (as printed); value, low, high, actors, clips, folds, seeds of ours, NaN without a
    run; paper, NaN where nothing is printed.
    """
    ours = scores.assign(system=scores["system"].replace(SYSTEMS[table]))
    systems = [*dict.fromkeys([*SYSTEMS[table].values(), *ours["system"]])]
    order = {"metric": ("accuracy", "mae"), "dropout": DROPOUT_ORDER, "system": systems, "condition": CONDITIONS}
    ours = ours.sort_values(KEYS, key=lambda column: column.map(order[column.name].index), ignore_index=True)
    printed = paper_tables().query("table == @table and dataset == @dataset").rename(columns={"value": "paper"})
    cells = printed[[*KEYS, "paper"]].merge(ours, how="left", on=KEYS)
    others = ours.merge(printed[[*KEYS, "paper"]], how="left", on=KEYS, indicator=True).query("_merge == 'left_only'")
    parts = [part for part in (cells, others) if len(part)]
    return pd.concat(parts, ignore_index=True)[[*KEYS, *OURS, "paper"]]


def gains(cells: pd.DataFrame) -> dict[str, dict[str, float]]:
    """What softhard adds to no dropout, in points, by whose (ours | the paper's) and condition.

    cells : as `table_cells` makes them
    It is the mean over the systems that ours have both of, the same for the paper's.
    """
    if not {"none", "softhard"} <= set(cells["dropout"]):
        return {}
    wide = cells[cells["metric"] == "accuracy"].pivot(index=["system", "condition"], columns="dropout")
    steps = pd.DataFrame({whose: wide[column]["softhard"] - wide[column]["none"] for column, whose in WHOSE.items()})
    means = steps.dropna(subset="ours").groupby("condition").mean().dropna(axis="columns", how="all")
    return means.reindex([name for name in CONDITIONS if name in means.index]).to_dict()


def highest(cells: pd.DataFrame) -> list[str]:
    """Who has the highest M, ours and the paper's, such as `ours IA1 with softhard (70.1 %)`."""
    means = cells[(cells["metric"] == "accuracy") & (cells["condition"] == "M")]
    best = {column: means.loc[means[column].idxmax()] for column in WHOSE if means[column].notna().any()}
    return [f"{WHOSE[column]} {row.system} with {row.dropout} ({row[column]:.1f} %)" for column, row in best.items()]


def as_wide(cells: pd.DataFrame, folds: int, metric: str = "accuracy") -> pd.DataFrame:
    """Cells as a table of texts, as the paper prints it: a row per dropout and system, two columns per condition.

    cells : as `table_cells` makes them      folds : of the fold scheme
    `ours` is such as `64.6 (58.1 to 70.9)`, "" without a run; `paper` is left out where the cells have none.
    """
    cells = cells[cells["metric"] == metric]
    texts = cells.assign(
        ours=[_ours(row, DECIMALS[metric]) for row in cells.itertuples()],
        paper=["" if pd.isna(value) else f"{value:.{PRINTED_DECIMALS[metric]}f}" for value in cells["paper"]],
    )
    rows = pd.MultiIndex.from_frame(cells[["dropout", "system"]].drop_duplicates())
    kinds = ["ours", "paper"] if cells["paper"].notna().any() else ["ours"]
    conditions = [name for name in CONDITIONS if name in set(cells["condition"])]
    wide = texts.pivot(index=["dropout", "system"], columns="condition", values=kinds).swaplevel(axis=1)
    wide = wide.reindex(index=rows, columns=[(name, kind) for name in conditions for kind in kinds]).fillna("")
    tested = cells.groupby(["dropout", "system"])[["folds", "actors", "seeds"]].max().reindex(rows)
    wide[("tested", "folds")] = ["" if pd.isna(n) else f"{n:.0f} of {folds}" for n in tested["folds"]]
    for name in ("actors", "seeds"):
        wide[("tested", name)] = ["" if pd.isna(n) else f"{n:.0f}" for n in tested[name]]
    wide.columns = pd.MultiIndex.from_tuples(wide.columns)
    return wide


def _ours(row: Any, decimals: int) -> str:
    if pd.isna(row.value):
        return ""
    value, low, high = (f"{number:.{decimals}f}" for number in (row.value, row.low, row.high))
    return value if pd.isna(row.low) else f"{value} ({low} to {high})"


def as_latex(wide: pd.DataFrame, caption: str, label: str) -> str:
    """A table of `as_wide` in LaTeX, the paper's numbers in italics; it needs the packages booktabs and multirow."""
    italic = wide.copy()
    for column in wide.columns:
        if column[1] == "paper":
            italic[column] = [rf"\textit{{{text}}}" if text else "" for text in wide[column]]
    italic.index = pd.MultiIndex.from_tuples([tuple(map(in_latex, names)) for names in wide.index])
    italic.columns.names = [None, None]
    layout = {"hrules": True, "clines": "skip-last;data", "multicol_align": "c", "position_float": "centering"}
    layout["column_format"] = "l" * (2 + wide.shape[1])
    text = italic.style.to_latex(**layout, caption=in_latex(caption), label=label)
    return "% needs \\usepackage{booktabs,multirow}\n" + text


def as_markdown(wide: pd.DataFrame) -> str:
    """A table of `as_wide` in Markdown: in each cell ours, then the paper's in italics."""
    columns = {}
    for name in wide.columns.get_level_values(0).unique().drop("tested"):
        papers = wide[name].get("paper", wide[name, "ours"].map(lambda _: ""))
        both = zip(wide[name, "ours"], papers, strict=True)
        columns[name] = [" ".join(filter(None, [ours, paper and f"*{paper}*"])) for ours, paper in both]
    tested = {name: wide["tested", name].to_numpy() for name in ("folds", "seeds")}
    rows = pd.DataFrame(columns | tested, index=wide.index)
    sides = ["left", "left", *["right"] * rows.shape[1]]
    text = rows.rename_axis(["modality dropout", "system"]).reset_index()
    text["system"] = text["system"].map(in_markdown)
    return text.to_markdown(index=False, colalign=sides, disable_numparse=True) + "\n"
