"""What the paper says of its tables, asked of our predictions: it holds, it does not, or nobody can tell.

A claim is a list of comparisons, each of two systems on the same clips, by `evaluate.statistics.differences`. A
comparison *holds* if Holm's p is below 0.05 and the difference has the expected sign; it *does not hold* if the sign is
the other one. Else the two *cannot be told apart*, and the table says how many actors it would take. Holm corrects over
all comparisons of a claim.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from workbook.evaluate.paper_tables import SYSTEMS, Systems, paper_tables
from workbook.evaluate.statistics import (
    CONDITIONS,
    actors_needed,
    common_clips,
    differences,
    holm_corrected,
    smallest_difference,
)

ALPHA = 0.05
MOST = 1000  # actors; that it takes more is all that is said
HOLDS, OPPOSITE, OPEN = "holds", "does not hold", "cannot be told apart"
PRINTED_NAME = {ours: printed for printed, ours in SYSTEMS["II"].items()}
Pair = tuple[tuple[str, str], tuple[str, str]]  # two systems, each with its dropout


class Claim(NamedTuple):
    """One claim of the paper, as comparisons: first less second is above 0."""

    title: str
    pairs: tuple[Pair, ...]
    conditions: tuple[str, ...]
    as_printed: bool = False  # True = the paper names no winner: the sign is that of its numbers


def _dropouts(first: str, second: str) -> tuple[Pair, ...]:
    return tuple(((system, first), (system, second)) for system in SYSTEMS["II"].values())


CLAIMS = (
    Claim(
        "Intermediate attention is the best fusion (softhard)",
        tuple((("IA1", "softhard"), (other, "softhard")) for other in ("LT1", "IT1", "TAV1", "TVA1", "MLT1")),
        ("AV", "M"),
    ),
    Claim("softhard saves A and V", _dropouts("softhard", "none"), ("A", "V")),
    Claim("softhard also helps AV", _dropouts("softhard", "none"), ("AV",)),
    Claim(
        "Four heads and one differ as the paper prints it (softhard)",
        tuple(((f"{name}4", "softhard"), (f"{name}1", "softhard")) for name in ("LT", "IT", "IA")),
        ("AV", "M"),
        as_printed=True,
    ),
)
SAMPLED = Claim(  # of nobody: the paper's text has one dropout, its code another
    "One modality per sample (sampled) beside all variants in each batch (softhard)",
    _dropouts("sampled", "softhard"),
    ("AV", "A", "V", "M"),
)
AUDIO = Claim(  # section III.A saw no benefit in other features
    "MFCCs are the best audio features (audio branch alone)",
    tuple(
        (("audio", dropout), (f"audio {other}", dropout))
        for dropout in ("none", "softhard")
        for other in ("logmel", "chroma", "spectrogram")
    ),
    ("A",),
)


def answers(systems: Systems, claims: tuple[Claim, ...] = CLAIMS, dataset: str = "", **settings: Any) -> pd.DataFrame:
    """One row per claim, pair and condition that there are runs for.

    dataset : whose printed numbers stand beside, ravdess | mosei; "" = none      settings : as in `differences`
    Columns: claim, first, second (names with dropout), label; condition and all other columns of `differences` over the
    clips that both were tested on, with p_holm over the claim; paper, the printed difference in points, NaN if there is
    none; verdict; shown, the smallest true difference that so many actors show in four cases of five; needed, how many
    actors would show the difference found; needed_paper, how many the paper's.
    """
    rows = [_answered(claim, systems, dataset, settings) for claim in claims]
    return pd.concat(rows, ignore_index=True) if any(map(len, rows)) else pd.DataFrame(columns=["claim", "verdict"])


def every_pair(systems: Systems, dataset: str = "", **settings: Any) -> pd.DataFrame:
    """One row per dropout, pair of systems with that dropout, and condition; columns as in `answers`, less the claim.

    p_holm is over the pairs of a dropout and condition. first and second are the printed names.
    """
    rows = []
    for dropout in dict.fromkeys(dropout for _, dropout in systems):
        pairs = combinations([name for name in systems if name[1] == dropout], 2)
        found = _compared(tuple(pairs), CONDITIONS, systems, dataset, settings)
        for _, own in found.groupby("condition", sort=False) if len(found) else ():
            rows.append(_corrected(own.reset_index(drop=True)).assign(dropout=dropout))
    table = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["dropout", "condition"])
    names = {"first": table.get("first"), "second": table.get("second")} if rows else {}
    return table.assign(**{column: [_printed_name(name) for name in own] for column, own in names.items()})


def _answered(claim: Claim, systems: Systems, dataset: str, settings: dict) -> pd.DataFrame:
    table = _compared(claim.pairs, claim.conditions, systems, dataset, settings)
    if table.empty or (claim.as_printed and table["paper"].isna().all()):
        return pd.DataFrame()
    table = _corrected(table).assign(claim=claim.title)
    expected = np.sign(table["paper"]) if claim.as_printed else 1
    sure, right = table["p_holm"] < ALPHA, np.sign(table["difference"]) == expected
    return table.assign(verdict=np.where(sure, np.where(right, HOLDS, OPPOSITE), OPEN))


def _compared(
    pairs: Iterable[Pair], conditions: Sequence[str], systems: Systems, dataset: str, settings: dict
) -> pd.DataFrame:
    """The rows of `differences` of those pairs that have been run, each on its common clips, and the printed ones."""
    rows = [pd.DataFrame()]
    for first, second in pairs:
        if first in systems and second in systems and set(systems[first]["clip"]) & set(systems[second]["clip"]):
            pair = common_clips({" ".join(name): systems[name] for name in (first, second)})
            found = differences(pair, conditions=_shared(pair, conditions), **settings)
            paper = [_printed(first, name, dataset) - _printed(second, name, dataset) for name in found["condition"]]
            names = dict.fromkeys(PRINTED_NAME.get(name, name) for name, _ in (first, second))
            rows.append(found.assign(label=" less ".join(names), paper=paper))
    return pd.concat(rows, ignore_index=True)


def _corrected(table: pd.DataFrame) -> pd.DataFrame:
    """The rows as one family: p_holm and pairs over all of them, and how many actors a difference takes."""
    table = table.assign(pairs=len(table), p_holm=holm_corrected(table["p"]))
    power = [_power(row) for row in table.itertuples()]
    return table.assign(**pd.DataFrame(power, columns=["shown", "needed", "needed_paper"]))


def _printed_name(name: str) -> str:
    """`TAV` of `TAV1 softhard`."""
    system = name.rpartition(" ")[0]
    return PRINTED_NAME.get(system, system)


def _shared(pair: dict[str, pd.DataFrame], conditions: Sequence[str]) -> list[str]:
    there = set.intersection(*(set(table["condition"]) for table in pair.values()))
    return [name for name in conditions if name in there or (name == "M" and {"AV", "A", "V"} <= there)]


def _printed(system: tuple[str, str], condition: str, dataset: str) -> float:
    """The accuracy in Table II; NaN where it has no such system."""
    wanted = ("II", dataset, "accuracy", system[1], PRINTED_NAME.get(system[0], ""), condition)
    return _table_ii().get(wanted, math.nan)


@cache
def _table_ii() -> dict[tuple, float]:
    keys = ["table", "dataset", "metric", "dropout", "system", "condition"]
    return paper_tables().set_index(keys)["value"].to_dict()


def _power(row: NamedTuple) -> tuple[float, float, float]:
    """Columns shown, needed and needed_paper of a row."""
    if not row.deviation > 0:
        return math.nan, math.nan, math.nan
    needed = [
        actors_needed(points, row.deviation, pairs=row.pairs) if abs(points) >= 0.1 else math.nan
        for points in (row.difference, row.paper)
    ]
    return smallest_difference(row.actors, row.deviation, pairs=row.pairs), *needed


def in_words(table: pd.DataFrame, claim: Claim) -> str:
    """What `answers` found of a claim, in Markdown: a sentence for all of it, and a line for each comparison."""
    rows = table[table["claim"] == claim.title]
    if rows.empty:
        return f"**{claim.title}**: nothing to compare" + (" with the print." if claim.as_printed else ".")
    counts, actors = rows["verdict"].value_counts(), f"{rows['actors'].max()} actors"
    overall = ", ".join(f"{verdict} in {n} of {len(rows)}" for verdict, n in counts.items())
    return "\n".join(
        [f"**{claim.title}**: {overall} ({actors}).", "", *(f"- {_line(row)}" for row in rows.itertuples())]
    )


def _line(row: NamedTuple) -> str:
    """One comparison: the difference, its interval, the printed one, the verdict, and what the actors could show."""
    printed = ""
    if not math.isnan(row.paper):
        printed = f"; printed {_points(row.paper)}" + ("" if row.low <= row.paper <= row.high else ", outside")
    interval = f"95 %: {_points(row.low)} to {_points(row.high)}{printed}"
    said = f"{row.label} in {row.condition}: {_points(row.difference)} ({interval}): **{row.verdict}**."
    return said + (_what_it_takes(row) if row.verdict == OPEN else "")


def _points(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}"  # never -0.0


def _what_it_takes(row: NamedTuple) -> str:
    if not row.deviation > 0:
        return " The two never differ." if row.deviation == 0 and row.difference == 0 else ""
    shown = f"would show {row.shown:.1f} points" if math.isfinite(row.shown) else "are too few to show anything"
    said = f" {row.actors} actors {shown}"
    if row.needed_paper > row.actors:
        many = f"{row.needed_paper:.0f}" if row.needed_paper <= MOST else f"more than {MOST}"
        said += f"; the printed difference takes {many} actors"
    return f"{said}."
