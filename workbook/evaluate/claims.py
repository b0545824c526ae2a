"""The paper's claims about its tables, checked on our predictions: each holds, does not hold, or cannot be decided.

A claim is a list of comparisons, each of two systems on the same clips, by `evaluate.statistics.differences`. A
comparison *holds* if Holm's p is below 0.05 and the difference has the expected sign; it *does not hold* if the sign is
the other one. Else the two *cannot be told apart*, and the table says how many folds it would take, or how many actors
of a single fold. Holm corrects over all comparisons of a claim.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from workbook.evaluate.paper_tables import SYSTEMS, Systems, paper_tables
from workbook.evaluate.statistics import (
    ALPHA,
    CONDITIONS,
    actors_needed,
    basis,
    common_clips,
    differences,
    holm_corrected,
    smallest_difference,
)

MOST = 1000  # folds or actors; above it a sentence says only "more"
HOLDS, OPPOSITE, OPEN = "holds", "does not hold", "cannot be told apart"
PRINTED_NAME = SYSTEMS["II"]
Pair = tuple[tuple[str, str], tuple[str, str]]  # two systems, each with its dropout


class Claim(NamedTuple):
    """A claim as comparisons: first less second is above 0."""

    title: str
    pairs: tuple[Pair, ...]
    conditions: tuple[str, ...]
    as_printed: bool = False  # True = the paper names no winner: the sign is that of its numbers
    fill: str = ""  # what both are tested with in place of a missing modality; "" = each with its own, as in the print


def _dropouts(first: str, second: str) -> tuple[Pair, ...]:
    return tuple(((system, first), (system, second)) for system in PRINTED_NAME)


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
    Claim("noise saves A and V, both tested with noise", _dropouts("noise", "none"), ("A", "V"), fill="noise"),
)
SAMPLED = Claim(  # not the paper's: its text has one dropout, its code another
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


def check_claims(
    systems: Systems, claims: tuple[Claim, ...] = CLAIMS, dataset: str = "", **settings: Any
) -> pd.DataFrame:
    """One row per claim, pair and condition that there are runs for.

    dataset : whose printed numbers stand beside, ravdess | mosei; "" = none      settings : as in `differences`
    Columns: claim, first, second (names with dropout), label; condition and all other columns of `differences` over the
    clips that both were tested on, with p_holm over the claim; paper, the printed difference in points, NaN if there is
    none; verdict; smallest, the smallest true difference that so many units show in four cases of five; needed, how
    many units would show our difference; needed_paper, how many the paper's.
    """
    tables = []
    for claim in claims:
        filled = {name: _with_fill(table, claim.fill) for name, table in systems.items()} if claim.fill else systems
        table = _compare(claim.pairs, claim.conditions, filled, "" if claim.fill else dataset, settings)
        if len(table) and not (claim.as_printed and table["paper"].isna().all()):
            table = _as_family(table).assign(claim=claim.title)
            expected = np.sign(table["paper"]) if claim.as_printed else 1
            is_sure, is_right = table["p_holm"] < ALPHA, np.sign(table["difference"]) == expected
            tables.append(table.assign(verdict=np.where(is_sure, np.where(is_right, HOLDS, OPPOSITE), OPEN)))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["claim", "verdict"])


def compare_pairs(systems: Systems, dataset: str = "", **settings: Any) -> pd.DataFrame:
    """One row per dropout, pair of systems with that dropout, and condition; columns as in `check_claims`.

    p_holm is over the pairs of a dropout and condition. first and second are the printed names.
    """
    tables = []
    for dropout in dict.fromkeys(dropout for _, dropout in systems):
        pairs = combinations([name for name in systems if name[1] == dropout], 2)
        table = _compare(pairs, CONDITIONS, systems, dataset, settings).assign(dropout=dropout)
        tables += [_as_family(own) for _, own in table.groupby("condition", sort=False)] if len(table) else []
    if not tables:
        return pd.DataFrame(columns=["dropout", "condition"])
    table = pd.concat(tables, ignore_index=True)
    printed = {f"{system} {dropout}": PRINTED_NAME.get(system, system) for system, dropout in systems}
    return table.assign(first=table["first"].map(printed), second=table["second"].map(printed))


def _compare(
    pairs: Iterable[Pair], conditions: Sequence[str], systems: Systems, dataset: str, settings: dict
) -> pd.DataFrame:
    """The rows of `differences` of those pairs that were run, each on its common clips, and the printed ones."""
    numbers = paper_tables().query("table == 'II' and dataset == @dataset and metric == 'accuracy'")
    printed = numbers.set_index(["system", "dropout", "condition"])["value"].to_dict()
    rows = [pd.DataFrame()]
    for pair in pairs:
        if not all(name in systems for name in pair) or not set.intersection(*(set(systems[n]["clip"]) for n in pair)):
            continue
        tables = common_clips({" ".join(name): systems[name] for name in pair})
        table = differences(tables, conditions=conditions, **settings)
        names = [PRINTED_NAME.get(name, name) for name, _ in pair]
        papers = [
            [printed.get((name, dropout, condition), math.nan) for condition in table["condition"]]
            for name, (_, dropout) in zip(names, pair, strict=True)
        ]
        rows.append(table.assign(label=" less ".join(dict.fromkeys(names)), paper=np.subtract(*papers)))
    return pd.concat(rows, ignore_index=True)


def _with_fill(predictions: pd.DataFrame, fill: str) -> pd.DataFrame:
    """The same predictions, where A and V are those with this fill, if that is the other one of the two."""
    own = {f"{name} {fill}": name for name in ("A", "V") if f"{name} {fill}" in set(predictions["condition"])}
    kept = predictions[~predictions["condition"].isin(own.values())]
    return kept.assign(condition=kept["condition"].replace(own))


def _as_family(table: pd.DataFrame) -> pd.DataFrame:
    """The rows as one family: p_holm and pairs over all of them; smallest, needed and needed_paper."""
    table = table.reset_index(drop=True).assign(pairs=len(table), p_holm=holm_corrected(table["p"]))
    power = np.full((len(table), 3), math.nan)
    for place, row in table[table["deviation"] > 0].iterrows():
        known = {"deviation": row["deviation"], "pairs": len(table), "test": row["test"]}
        points = row["difference"], row["paper"]
        needed = [actors_needed(size, **known) if abs(size) >= 0.1 else math.nan for size in points]
        power[place] = smallest_difference(row["units"], **known), *needed
    return table.assign(**pd.DataFrame(power, columns=["smallest", "needed", "needed_paper"]))


def in_words(table: pd.DataFrame, claim: Claim) -> str:
    """The result of a claim in Markdown: a sentence for all of it, and a line for each comparison.

    table : as `check_claims` makes it
    """
    rows = table[table["claim"] == claim.title]
    if rows.empty:
        return f"**{claim.title}**: nothing to compare" + (" with the print." if claim.as_printed else ".")
    counts, first = rows["verdict"].value_counts(), rows.loc[rows["actors"].idxmax()]
    overall = ", ".join(f"{verdict} in {n} of {len(rows)}" for verdict, n in counts.items())
    return "\n".join(
        [f"**{claim.title}**: {overall} ({basis(first)}).", "", *(f"- {_line(row)}" for _, row in rows.iterrows())]
    )


def _line(row: pd.Series) -> str:
    """One comparison: the difference, its interval, the printed one, the verdict, and what its units could show."""
    low, high, paper = row["low"], row["high"], row["paper"]
    where = ", outside" if paper < low or paper > high else ""
    printed = "" if math.isnan(paper) else f"; printed {paper:+z.1f}{where}"
    interval = ("no interval" if math.isnan(low) else f"95 %: {low:+z.1f} to {high:+z.1f}") + printed
    sentence = f"{row['label']} in {row['condition']}: {row['difference']:+z.1f} ({interval}): **{row['verdict']}**."
    if row["verdict"] != OPEN or not row["deviation"] > 0:
        return sentence
    finite = math.isfinite(row["smallest"])
    power = f"would show {row['smallest']:.1f} points" if finite else "are too few to show anything"
    paper = ""
    if row["needed_paper"] > row["units"]:
        number = f"{row['needed_paper']:.0f}" if row["needed_paper"] <= MOST else f"more than {MOST}"
        paper = f"; the printed difference takes {number} {row['unit']}s"
    return f"{sentence} {basis(row).capitalize()} {power}{paper}."
