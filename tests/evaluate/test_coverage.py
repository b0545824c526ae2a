"""What the intervals and tests are worth, simulated: the table of docs/statistics.md, and a test that it stays true.

    python tests/evaluate/test_coverage.py 200     # prints the table; eight minutes of one core

Drawn people: the actors' accuracies have mean 60 and standard deviation 12 points; each has 60 clips, and four make a
fold. A system suits a person better or worse by 4 points. Each training of each fold is better or worse by 0, 3 or 6
points. The two systems are equal: 5 % of pairs should have p < 0.05, and 95 % of intervals should hold the truth.
"""

import re
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest

from workbook import ROOT
from workbook.attention.faithfulness import interval
from workbook.attention.truth import shares, summary
from workbook.evaluate.conditions import Gone, Intact
from workbook.evaluate.statistics import differences, intervals
from workbook.studies import credit, loss
from workbook.studies.estimates import select

ACTORS, CLIPS, MEAN, SPREAD, TASTE = 4, 60, 0.60, 0.12, 0.04  # actors of a fold, clips of an actor
NETWORKS = (0, 3, 6)  # points by which trainings differ: their standard deviation
CONDITIONS = {  # points that each costs; with three quarters of the sound gone less is right than with none
    Intact(): 0,
    Gone("audio", 0.25, "end"): 8,
    Gone("audio", 0.5, "end"): 18,
    Gone("audio", 0.75, "end"): 26,
    Gone("audio"): 22,
    Gone("video"): 22,
}
CREDIT = dict(zip(credit.conditions(clips=None), (0, 20, 15, 30), strict=True))


def draw(rng, network, folds=5, seeds=1, falls=(("AV", 0),), number=2) -> list[pd.DataFrame]:
    """The predictions of equal systems; falls : conditions, and the points that each costs."""
    people, size = folds * ACTORS, MEAN * (1 - MEAN) / SPREAD**2 - 1
    ease, tables = rng.beta(MEAN * size, (1 - MEAN) * size, people), []
    about = pd.DataFrame({"actor": np.repeat(np.arange(people), CLIPS), "clip": np.arange(people * CLIPS)})
    about = about.assign(fold=about["actor"] // ACTORS, label=0)
    for _ in range(number):
        likes, rows = ease + TASTE * rng.standard_normal(people), []
        for seed in range(seeds):
            own = likes + np.repeat(network / 100 * rng.standard_normal(folds), ACTORS)
            for condition, fall in falls:
                hits = rng.random(len(about)) < np.clip(own - fall / 100, 0, 1)[about["actor"]]
                rows.append(about.assign(condition=condition, seed=seed, p0=1.0 * hits, p1=1.0 * ~hits))
        tables.append(pd.concat(rows, ignore_index=True))
    return tables


def system(rng, network, condition="AV", **how):
    """Whether the interval of a system holds its value for all people and trainings."""
    falls = [(name, 0) for name in ("AV", "A", "V")]
    (table,) = draw(rng, network, **how, falls=falls if condition == "M" else falls[:1], number=1)
    row = intervals({"": table}, conditions=[condition]).iloc[0]
    return row["low"] <= 100 * MEAN <= row["high"]


def pair(rng, network, column="p", one_fold=False, **how):
    """Whether the interval of a difference holds 0, or whether p is below 0.05; one_fold : True = it seems one."""
    tables = [table.assign(fold=0) if one_fold else table for table in draw(rng, network, **how)]
    row = differences(dict(zip("ab", tables, strict=True)), conditions=("AV",), resamples=499).iloc[0]
    return row["low"] <= 0 <= row["high"] if column == "low" else row[column] < 0.05


def study(rng, network, module=loss, measure="area", truth=0.0, **how):
    """Whether the interval of a study's measure holds its true value."""
    costs = CREDIT if module is credit else CONDITIONS
    (table,) = draw(rng, network, **how, falls=[(condition.name, fall) for condition, fall in costs.items()], number=1)
    rows = select(pd.DataFrame(module.results(table, [*costs])), measure=measure)
    row = rows[rows["by"] == "all"].iloc[0] if "by" in rows else rows.iloc[0]
    return row["low"] <= truth <= row["high"]


def faithfulness(rng, network):
    """Whether the interval of a mean of one network's clips holds that of all people and trainings."""
    (table,) = draw(rng, network, folds=1, number=1)
    row = interval(100 * table["p0"], table["actor"])
    return row["low"] <= 100 * MEAN <= row["high"]


def habit(rng, network, column="p_chance"):
    """Whether a look at one third of every clip is taken for a look at the cue, which is in any of the three."""
    clips = pd.DataFrame({"clip": range(ACTORS * 16), "actor": np.repeat(range(ACTORS), 16), "window_start": 0.0})
    start = 1.2 * rng.integers(3, size=len(clips))
    truth = pd.DataFrame({"face_start": start, "face_end": start + 1.19, "face_shows": True}, index=clips["clip"])
    vectors = np.tile(np.repeat([1.0, 1.0, 4.0], 5), (len(clips), 1))
    table = shares(clips, {"video": vectors}, {"video": (np.arange(15) + 0.5) * 0.24}, truth)
    return summary(table)[column].iloc[0] < 0.05


AREA = float(np.trapezoid([60, 52, 42, 34, 38], dx=0.25))
WORTH = {  # name in the page: a simulated test
    "system: 5 folds, trained once": system,
    "system: 5 folds, trained 3 times": partial(system, seeds=3),
    "M of a system: 5 folds, trained once": partial(system, condition="M"),
    "system: 1 fold, trained once": partial(system, folds=1),
    "system: 1 fold, trained 3 times": partial(system, folds=1, seeds=3),
    "difference: 5 folds, trained once": partial(pair, column="low"),
    "difference: 1 fold, trained 3 times": partial(pair, column="low", folds=1, seeds=3),
    "area of a study: 5 folds": partial(study, truth=AREA),
    "where the other modality alone is better: 5 folds": partial(study, measure="better alone", truth=62.5),
    "credit of sound: 5 folds": partial(study, module=credit, measure="sound", truth=(10 + 15) / 2),
    "mean of faithfulness: 1 fold, trained once": faithfulness,
    "`p`: 5 folds, trained once": pair,
    "`p`: 5 folds, trained 3 times": partial(pair, seeds=3),
    "`p`: 1 fold, trained 3 times": partial(pair, folds=1, seeds=3),
    "`p` of swaps: 20 actors in 5 folds, as if of one": partial(pair, one_fold=True),
    "`p_mcnemar`: 5 folds, trained once": partial(pair, column="p_mcnemar"),
    "`p_chance` of a habit": habit,
    "`p_elsewhere` of a habit": partial(habit, column="p_elsewhere"),
}


def simulated(name: str, network: float, times: int) -> float:
    """The share of simulated tests, in percent, of which it is so."""
    rng = np.random.default_rng([list(WORTH).index(name), int(network)])
    return 100 * np.mean([WORTH[name](rng, network) for _ in range(times)])


def printed() -> dict[tuple[str, int], float]:
    """The table of the page: percent by name and deviation of the networks."""
    page = (ROOT / "docs/statistics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| +(\d+) % \| +(\d+) % \| +(\d+) % \|$", page, re.M)
    return {
        (name.strip(), network): float(share)
        for name, *own in rows
        for network, share in zip(NETWORKS, own, strict=True)
    }


def test_the_page_has_every_interval_and_test_and_the_main_ones_keep_their_word_whatever_networks_do():
    assert {name for name, _ in printed()} == set(WORTH)
    for name in WORTH:
        if "5 folds" in name and "mcnemar" not in name and "as if" not in name:
            percents = [printed()[name, network] for network in NETWORKS]
            assert max(percents) <= 10 if name.startswith("`p") else min(percents) >= 90, name


@pytest.mark.parametrize("name", ["system: 5 folds, trained once", "`p`: 5 folds, trained once"])
def test_a_few_simulated_tests_are_as_the_page_says(name):
    assert simulated(name, 6, 60) == pytest.approx(printed()[name, 6], abs=9)


@pytest.mark.slow
@pytest.mark.parametrize("name, network", [(name, network) for name in WORTH for network in NETWORKS])
def test_many_simulated_tests_are_as_the_page_says(name, network):
    assert simulated(name, network, 200) == pytest.approx(printed()[name, network], abs=1)


if __name__ == "__main__":
    for name in WORTH:
        percents = " | ".join(f"{simulated(name, network, int(sys.argv[1])):.0f} %" for network in NETWORKS)
        sys.stdout.write(f"| {name} | {percents} |\n")
        sys.stdout.flush()
