"""Tables of systems by condition, as Tables II and III: ours with intervals and coverage, the paper's beside it.

Systems come as predictions by name and modality dropout: {("IA1", "softhard"): all folds of predict(), one below the
other}. Names are those of `workbook.run.results`, such as TAV1; tables show them as printed, TAV.
"""

from typing import Any

import pandas as pd

from workbook import InputError
from workbook.evaluate.paper_tables import SYSTEMS, paper_tables
from workbook.evaluate.statistics import CONDITIONS, intervals

Systems = dict[tuple[str, str], pd.DataFrame]  # by (system, dropout)

DROPOUT_ORDER = ("none", "softhard", "noise", "sampled", "hard", "soft")  # first as the paper's tables have them
KEYS = ["metric", "dropout", "system", "condition"]
OURS = ["value", "low", "high", "actors", "clips", "folds"]
WHOSE = {"value": "ours", "paper": "the paper's"}  # columns of cells
DECIMALS = {"accuracy": 1, "mae": 3}  # of ours; the paper prints 2 and 3
PRINTED_DECIMALS = {"accuracy": 2, "mae": 3}


def in_order(systems: Systems) -> Systems:
    """The same systems in the order of the paper's tables: by dropout, then by name, own ones last."""
    names = [*SYSTEMS["II"].values(), *SYSTEMS["III"].values(), *sorted({name for name, _ in systems})]
    return dict(sorted(systems.items(), key=lambda item: (DROPOUT_ORDER.index(item[0][1]), names.index(item[0][0]))))


def scores(systems: Systems, **settings: Any) -> pd.DataFrame:
    """One row per system, dropout, metric and condition, with the columns of `workbook.evaluate.statistics.intervals`.

    metric : accuracy, in percent; for sentiment also mae      settings : level, resamples, seed, as in `intervals`
    """
    rows = [pd.DataFrame(columns=[*KEYS, *OURS])]
    for (system, dropout), table in systems.items():
        for metric in ("accuracy", "mae") if "value" in table else ("accuracy",):
            rows.append(intervals({system: table}, metric, **settings).assign(dropout=dropout, metric=metric))
    return pd.concat(rows[1:] or rows, ignore_index=True)[[*KEYS, *OURS]]


def beside(scores: pd.DataFrame, table: str, dataset: str) -> pd.DataFrame:
    """The cells of a printed table in its order, ours where there is a run, then our systems that it does not have.

    scores : as `scores` makes them      table : II | III      dataset : ravdess | mosei
    Columns: metric, dropout, system (as printed); value, low, high, actors, clips, folds of ours, NaN without a run;
    paper.
    Raises InputError for a table that the paper does not have.
    """
    printed = paper_tables().query("table == @table and dataset == @dataset").rename(columns={"value": "paper"})
    if printed.empty:
        raise InputError(f"the paper has no Table {table} of {dataset}: choose II of ravdess or mosei, or III of mosei")
    found = printed[[*KEYS, "paper"]].merge(_as_printed(scores, table), how="left", on=KEYS)
    others = alone(scores, table).merge(printed[KEYS], how="left", on=KEYS, indicator="where")
    return _joined(found, others[others["where"] == "left_only"].drop(columns="where"))


def alone(scores: pd.DataFrame, table: str = "II") -> pd.DataFrame:
    """The cells of our systems alone, columns as in `beside`, with those of a printed table in its order first."""
    order = [*SYSTEMS[table], *dict.fromkeys(_as_printed(scores, table)["system"])]
    cells = _as_printed(scores, table).assign(paper=float("nan"))
    place = {"dropout": DROPOUT_ORDER.index, "system": order.index, "condition": CONDITIONS.index}
    ranks = [cells["metric"], *(cells[name].map(rank) for name, rank in place.items())]
    ranked = cells.assign(**{str(k): rank for k, rank in enumerate(ranks)}).sort_values([*"0123"], kind="stable")
    return ranked[[*KEYS, "paper", *OURS]].reset_index(drop=True)


def _joined(found: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([part for part in (found, others) if len(part)], ignore_index=True)[[*KEYS, *OURS, "paper"]]


def _as_printed(scores: pd.DataFrame, table: str) -> pd.DataFrame:
    """The scores with the paper's names of systems. What another table prints under the same name keeps ours."""
    names = {ours: printed for printed, ours in SYSTEMS[table].items()}
    return scores.assign(system=scores["system"].map(lambda ours: names.get(ours, ours)))


def gains(cells: pd.DataFrame) -> dict[str, dict[str, float]]:
    """What softhard adds to no dropout, in points, by whose (ours | the paper's) and condition.

    cells : as `beside` or `alone` makes them
    It is the mean over the systems that ours have both of, the same for the paper's.
    """
    wide = cells[cells["metric"] == "accuracy"].pivot(index=["system", "condition"], columns="dropout")
    if not {"none", "softhard"} <= set(cells["dropout"]):
        return {}
    steps = pd.DataFrame({whose: wide[column]["softhard"] - wide[column]["none"] for column, whose in WHOSE.items()})
    means = steps.dropna(subset="ours").groupby("condition").mean().dropna(axis="columns", how="all")
    return {
        whose: {name: float(means.loc[name, whose]) for name in CONDITIONS if name in means.index} for whose in means
    }


def highest(cells: pd.DataFrame) -> list[str]:
    """Who has the highest M, ours and the paper's, such as `ours IA1 with softhard (70.1 %)`."""
    means = cells[(cells["metric"] == "accuracy") & (cells["condition"] == "M")]
    best = {whose: means.loc[means[column].idxmax()] for column, whose in WHOSE.items() if means[column].notna().any()}
    columns = {whose: column for column, whose in WHOSE.items()}
    return [f"{whose} {row.system} with {row.dropout} ({row[columns[whose]]:.1f} %)" for whose, row in best.items()]


def as_wide(cells: pd.DataFrame, folds: int, metric: str = "accuracy") -> pd.DataFrame:
    """Cells as a table of texts, as the paper prints it: a row per dropout and system, two columns per condition.

    cells : as `beside` or `alone` makes them      folds : how many there would be
    `ours` is such as `64.6 (58.1 to 70.9)`, "" without a run; `paper` is left out where the cells have none.
    """
    cells = cells[cells["metric"] == metric]
    texts = cells.assign(
        ours=[_ours(row, DECIMALS[metric]) for row in cells.itertuples()],
        paper=["" if pd.isna(value) else f"{value:.{PRINTED_DECIMALS[metric]}f}" for value in cells["paper"]],
    )
    rows = pd.MultiIndex.from_frame(cells[["dropout", "system"]].drop_duplicates())
    kinds = ["ours", "paper"] if cells["paper"].notna().any() else ["ours"]
    wide = texts.pivot(index=["dropout", "system"], columns="condition", values=kinds).swaplevel(axis=1)
    there = [name for name in CONDITIONS if name in set(cells["condition"])]
    wide = wide.reindex(index=rows, columns=[(name, kind) for name in there for kind in kinds]).fillna("")
    done = cells.groupby(["dropout", "system"])[["folds", "actors"]].max().reindex(rows)
    wide[("tested", "folds")] = ["" if pd.isna(n) else f"{n:.0f} of {folds}" for n in done["folds"]]
    wide[("tested", "actors")] = ["" if pd.isna(n) else f"{n:.0f}" for n in done["actors"]]
    wide.columns = pd.MultiIndex.from_tuples(wide.columns)
    return wide


def _ours(row: Any, decimals: int) -> str:
    if pd.isna(row.value):
        return ""
    value, low, high = (f"{number:.{decimals}f}" for number in (row.value, row.low, row.high))
    return value if pd.isna(row.low) else f"{value} ({low} to {high})"


def as_latex(wide: pd.DataFrame, caption: str, label: str) -> str:
    """A table of `as_wide` in LaTeX, the paper's numbers in italics; it needs the packages booktabs and multirow."""
    shown = wide.copy()
    for column in wide.columns:
        if column[1] == "paper":
            shown[column] = [rf"\textit{{{text}}}" if text else "" for text in wide[column]]
    shown.index.names = shown.columns.names = [None, None]
    text = shown.style.to_latex(
        hrules=True,
        clines="skip-last;data",
        multicol_align="c",
        column_format="l" * (2 + wide.shape[1]),
        caption=caption.replace("_", r"\_").replace("%", r"\%"),
        label=label,
        position_float="centering",
    )
    return "% needs \\usepackage{booktabs,multirow}\n" + text


def as_markdown(wide: pd.DataFrame) -> str:
    """A table of `as_wide` in Markdown: in each cell ours, then the paper's in italics."""
    names = list(dict.fromkeys(wide.columns.get_level_values(0).drop("tested")))
    lines = [["modality dropout", "system", *names, "folds"], [":--", ":--", *["--:"] * len(names), "--:"]]
    for (dropout, system), row in wide.iterrows():
        both = [[row[name, "ours"], f"*{row[name].get('paper', '')}*".replace("**", "")] for name in names]
        lines.append([dropout, system, *(" ".join(filter(None, cell)) for cell in both), row["tested", "folds"]])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
