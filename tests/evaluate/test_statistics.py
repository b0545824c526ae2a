"""Intervals, comparisons and numbers of actors: against cases by hand, scipy, statsmodels, and simulated people."""

import math
import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, norm, pearsonr, permutation_test, sem, t, ttest_rel
from sklearn.metrics import accuracy_score, f1_score, recall_score
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from workbook import ROOT, InputError
from workbook.evaluate.metrics import EMOTION, SENTIMENT, metrics, scores
from workbook.evaluate.protocol import RUNGS, ladder
from workbook.evaluate.sentences import gains
from workbook.evaluate.statistics import (
    actors_needed,
    common_clips,
    differences,
    holm_corrected,
    in_words,
    intervals,
    power_of_swaps,
    smallest_difference,
)

AV = ("AV",)
FEW = {"resamples": 499}


def answers(right: np.ndarray, condition: str = "AV", classes: int = 2) -> pd.DataFrame:
    """Predictions of actors (rows) on clips (columns) that are right where `right` (A, N) is True."""
    A, N = right.shape
    label = np.tile(np.arange(N) % classes, (A, 1))
    guess = np.where(right, label, (label + 1) % classes).ravel()
    table = pd.DataFrame({"clip": [f"{a:02}-{n:02}" for a in range(A) for n in range(N)]})
    table = table.assign(actor=np.repeat(range(1, A + 1), N), fold=np.repeat(np.arange(A) // 4, N))
    table = table.assign(condition=condition, label=label.ravel())
    return table.assign(**{f"p{k}": (guess == k).astype(float) for k in range(classes)})


def people(rng, actors=24, clips=60, ahead=(0.0,)) -> list[pd.DataFrame]:
    """One table per system, of people whose accuracies have mean 60 and spread 12; ahead : what each system adds."""
    ease = rng.beta(9.4, 6.3, actors)
    return [answers(rng.random((actors, clips)) < np.clip(ease + more, 0, 1)[:, None]) for more in ahead]


def own_accuracies(table: pd.DataFrame, by: str = "actor") -> np.ndarray:
    """The accuracy of each actor, or fold, in percent."""
    return (table.p0 > 0.5).eq(table.label == 0).groupby(table[by]).mean().to_numpy() * 100


def three_conditions(rng, actors=7, clips=11, classes=3) -> pd.DataFrame:
    rates = {"AV": 0.8, "A": 0.5, "V": 0.4}
    tables = [answers(rng.random((actors, clips)) < rate, name, classes) for name, rate in rates.items()]
    return pd.concat(tables, ignore_index=True)


def sentiments(rng, actors=7, clips=11) -> pd.DataFrame:
    label = rng.integers(-3, 4, (actors, clips)).ravel()
    table = answers(np.ones((actors, clips), bool)).drop(columns=["p0", "p1"])
    return table.assign(label=label, value=0.7 * label + rng.standard_normal(len(label)))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def sklearns(rows: pd.DataFrame) -> dict[str, float]:
    """All metrics of sentiment by scikit-learn and scipy."""
    truth, value = rows.label.to_numpy(float), rows.value.to_numpy(float)
    signs, halves = (truth[truth != 0] > 0, value[truth != 0] > 0), (truth >= 0, value >= 0)
    rounded = {most: [np.round(np.clip(x, -most, most)) for x in (truth, value)] for most in (3, 2)}
    return {
        "accuracy": 100 * accuracy_score(*signs),
        "uar": 100 * recall_score(*signs, average="macro"),
        "f1": 100 * f1_score(*signs, average="weighted"),
        "f1_mult": 100 * f1_score(*signs[::-1], average="weighted"),  # MULT's eval_metrics.py has them the other way
        "accuracy_neutral": 100 * accuracy_score(*halves),
        "f1_neutral": 100 * f1_score(*halves, average="weighted"),
        "accuracy7": 100 * np.mean(rounded[3][0] == rounded[3][1]),
        "accuracy5": 100 * np.mean(rounded[2][0] == rounded[2][1]),
        "mae": np.abs(truth - value).mean(),
        "correlation": pearsonr(truth, value).statistic,
    }


def test_metrics_of_sentiment_are_sklearns_for_any_draw_of_actors(rng):
    table = sentiments(rng)
    for actors in ([1, 2, 3, 4, 5, 6, 7], [3, 3, 1, 7, 7, 7, 2]):
        rows = pd.concat([table[table.actor == actor] for actor in actors])
        assert scores(rows) == pytest.approx(sklearns(rows))


def test_metrics_of_emotion_are_sklearns_also_without_a_class(rng):
    table = answers(rng.random((7, 11)) < 0.6, classes=5)
    for rows in (table, table[table.actor.isin([2, 5])], table[table.label != 3]):
        guess, truth = rows.filter(regex="p[0-9]").to_numpy().argmax(axis=1), rows.label
        recall = recall_score(truth, guess, labels=sorted(set(truth)), average="macro")
        assert scores(rows) == pytest.approx({"accuracy": 100 * accuracy_score(truth, guess), "uar": 100 * recall})


@pytest.mark.parametrize("metric", EMOTION)
def test_values_are_the_metrics_of_each_condition_and_m(metric, rng):
    table = three_conditions(rng)
    found = intervals({"ours": table}, metric).set_index("condition")
    expected = metrics(table)
    for condition in ("AV", "A", "V"):
        assert found.value[condition] == pytest.approx(expected["conditions"][condition][metric])
    assert found.value["M"] == pytest.approx(expected["M"][metric])
    assert (found.low < found.value).all() and (found.value < found.high).all()
    assert (found.actors == 7).all() and (found.folds == 2).all() and (found.clips == 77).all()


@pytest.mark.parametrize("folds, unit", [(1, "actor"), (5, "fold")])
def test_an_interval_is_students_over_folds_or_over_the_actors_of_one(folds, unit, rng):
    (table,) = people(rng, actors=4 * folds)
    values = own_accuracies(table, unit)
    student = t.interval(0.95, len(values) - 1, values.mean(), sem(values))
    found = intervals({"ours": table}, conditions=AV).iloc[0]
    assert (found.low, found.high) == pytest.approx(student)
    assert (found.folds, found.seeds, found.actors) == (folds, 1, 4 * folds)


def test_an_interval_of_a_ratio_is_the_jackknifes(rng):
    """Folds of unlike size: astropy's jackknife_stats in words, the metric without each fold."""
    table = answers(rng.random((18, 11)) < 0.6, classes=5).query("actor != 3")
    without = [scores(table[table.fold != fold])["uar"] for fold in range(5)]
    error = math.sqrt(4 / 5 * np.sum((without - np.mean(without)) ** 2))
    found = intervals({"ours": table}, "uar", AV).iloc[0]
    assert found.value == pytest.approx(scores(table)["uar"])
    assert (found.high - found.value) == pytest.approx(t.ppf(0.975, 4) * error)


def test_several_trainings_of_one_fold_widen_its_interval(rng):
    """The variances of the actors' and of the seeds' means are added; Satterthwaite's degrees of freedom."""
    seeds = people(rng, actors=4, ahead=(-0.2, 0.0, 0.1))
    table = pd.concat([rows.assign(seed=seed) for seed, rows in enumerate(seeds)])
    by_actor = np.mean([own_accuracies(rows) for rows in seeds], axis=0)
    by_seed = np.array([own_accuracies(rows).mean() for rows in seeds])
    people_, trainings = sem(by_actor) ** 2, sem(by_seed) ** 2
    freedom = (people_ + trainings) ** 2 / (people_**2 / 3 + trainings**2 / 2)
    found = intervals({"ours": table, "unnamed": table.drop(columns="seed")}, conditions=AV)
    reach = t.ppf(0.975, freedom) * math.sqrt(people_ + trainings)
    assert (found.high - found.value).to_numpy() == pytest.approx(reach) and set(found.seeds) == {3}


def test_identical_actors_have_an_interval_of_no_width_and_one_actor_has_none(rng):
    right = np.tile([True, True, False, True], (5, 1))
    same, alone = (intervals({"ours": answers(right[:A])}, conditions=AV).iloc[0] for A in (5, 1))
    assert same.low == same.value == same.high == 75
    assert alone.value == 75 and math.isnan(alone.low) and math.isnan(alone.high)


def test_m_has_no_interval_where_some_actors_lack_a_condition(rng):
    table = three_conditions(rng)
    found = intervals({"ours": table[(table.condition != "V") | (table.actor < 3)]}).set_index("condition")
    assert found.actors["V"] == 2 and found.low.notna()[["AV", "A", "V"]].all()
    assert math.isfinite(found.value["M"]) and math.isnan(found.low["M"])


def test_two_systems_by_hand():
    """Three actors of four clips: the first system has 3, 2 and 4 of them right, the second 1, 1 and 1."""
    first = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]], bool)
    second = np.array([[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]], bool)
    row = differences({"a": answers(first), "b": answers(second)[::-1]}, conditions=AV).iloc[0]
    assert row["difference"] == pytest.approx(100 * 6 / 12)
    assert row["p"] == row["p_holm"] == pytest.approx(2 / 8)  # of 8 ways to swap, none and all are as far apart
    assert (row["only_first"], row["only_second"]) == (8, 2)
    assert row["p_mcnemar"] == pytest.approx(binomtest(2, 10).pvalue)
    assert row["deviation"] == pytest.approx(25) and row["effect"] == pytest.approx(2)  # of 50, 25 and 75 points
    assert (row["actors"], row["clips"], row["pairs"]) == (3, 12, 1)
    assert row["high"] - 50 == 50 - row["low"] == pytest.approx(t.ppf(0.975, 2) * 25 / math.sqrt(3))


def test_p_of_several_folds_is_that_of_their_paired_t_test():
    rng = np.random.default_rng(5)
    one, two = people(rng, ahead=(0.04, 0.0))
    row = differences({"a": one, "b": two}, conditions=AV).iloc[0]
    student = ttest_rel(own_accuracies(one, "fold"), own_accuracies(two, "fold"))
    assert (row["unit"], row["units"]) == ("fold", 6) and row["p"] == pytest.approx(student.pvalue)
    assert row["effect"] == pytest.approx(student.statistic / math.sqrt(6))
    assert (row["low"], row["high"]) == pytest.approx(tuple(student.confidence_interval()))


def test_trainings_of_one_fold_are_compared_with_the_variances_of_people_and_of_both_systems_seeds(rng):
    ours, theirs = ([rows.assign(seed=k) for k, rows in enumerate(people(rng, 4, ahead=(0.3, 0.2)))] for _ in "ab")
    row = differences({"a": pd.concat(ours), "b": pd.concat(theirs)}, conditions=AV).iloc[0]
    gains = np.mean([own_accuracies(a) - own_accuracies(b) for a, b in zip(ours, theirs, strict=True)], axis=0)
    by_seed = [[own_accuracies(rows).mean() for rows in side] for side in (ours, theirs)]
    variances = np.array([sem(values) ** 2 for values in (gains, *by_seed)])
    freedom = variances.sum() ** 2 / (variances**2 / (3, 1, 1)).sum()
    assert row["p"] == pytest.approx(2 * t.sf(abs(gains.mean()) / math.sqrt(variances.sum()), freedom))
    assert (row["unit"], row["seeds"], row["folds"]) == ("actor", 2, 1) and row["units"] == pytest.approx(freedom + 1)
    assert row["difference"] == pytest.approx(gains.mean()) and math.isnan(row["p_mcnemar"])


def test_a_system_does_not_differ_from_itself(rng):
    table = three_conditions(rng)
    found = differences({"a": table, "b": table[::-1]}, **FEW)
    assert list(found.condition) == ["AV", "A", "V", "M"]
    assert (found[["difference", "low", "high", "deviation"]].abs() < 1e-9).all(axis=None) and (found.p == 1).all()
    assert (found.p_mcnemar.dropna() == 1).all() and found.p_mcnemar.notna().sum() == 3


@pytest.mark.parametrize("metric", SENTIMENT)
def test_sentiment_is_compared_by_every_metric(metric, rng):
    table = sentiments(rng)
    worse = table.assign(value=table.value + 2 * rng.standard_normal(len(table)))
    row = differences({"good": table, "worse": worse}, metric, AV, **FEW).iloc[0]
    expected = sklearns(table)[metric] - sklearns(worse)[metric]
    assert row["difference"] == pytest.approx(expected) and row["low"] <= row["difference"] <= row["high"]
    assert 0 < row["p"] <= 1 and (row["difference"] < 0) == (metric == "mae")
    assert math.isnan(row["p_mcnemar"]) == (metric != "accuracy")


def test_holm_over_all_pairs_of_a_condition_is_statsmodels_own(rng):
    systems = dict(zip("abcd", people(rng, actors=12, ahead=(0.0, 0.05, 0.1, 0.2)), strict=True))
    table = differences(systems, conditions=AV)
    assert len(table) == 6 and (table.pairs == 6).all()
    np.testing.assert_allclose(table.p_holm, multipletests(table.p, method="holm")[1])
    for p in (rng.random(7) ** 3, [0.04, 0.01, 0.04, 0.9], [0.5]):
        np.testing.assert_allclose(holm_corrected(p), multipletests(p, method="holm")[1], rtol=1e-15)


def test_missing_folds_are_named_and_the_clips_of_both_can_be_compared(rng):
    one, two = people(rng, actors=12, ahead=(0.0, 0.1))
    systems = {"IA1": one, "LT1": two[two.fold != 1]}
    message = (
        r"different clips: LT1 lacks 240 predictions, such as 04-00 of fold 1 in AV; run what is missing, or compare"
    )
    with pytest.raises(InputError, match=message):
        differences(systems)
    common = common_clips(systems)
    assert {len(table) for table in common.values()} == {480} and set(common["IA1"].fold) == {0, 2}
    row = differences(common, conditions=AV, **FEW).iloc[0]
    assert (row["actors"], row["clips"]) == (8, 480)


def test_a_table_that_cannot_be_compared_is_refused_in_a_sentence(rng):
    (table,) = people(rng, actors=4, clips=5)
    cases = [
        ({"a": table}, {}, "there is nothing to compare"),
        ({"a": table, "b": table.drop(columns="actor")}, {}, "the table of b has no column actor"),
        ({"a": table, "b": table}, {"metric": "f1"}, "metric is 'f1'; a has accuracy, uar"),
        ({"a": table, "b": table}, {"conditions": ["AVV"]}, "no system has condition 'AVV'; choose from AV"),
        ({"a": table, "b": pd.concat([table, table[:3]])}, {}, "in the table of b some clips stand more often"),
        ({"a": table, "b": table.assign(label=1)}, {}, "a and b have other labels for the same clips"),
        ({"a": table, "b": table.assign(condition="V")}, {}, "no two of these systems share a condition"),
    ]
    for systems, settings, message in cases:
        with pytest.raises(InputError, match=message):
            differences(systems, **settings)


@pytest.mark.parametrize("effect, actors, alpha", [(1.5, 6, 0.05), (1.5, 7, 0.05), (2.0, 10, 0.05 / 18)])
def test_the_power_of_few_actors_is_that_of_their_swaps(effect, actors, alpha):
    """By scipy's permutation test of drawn people; at the fewest actors all have to gain or all to lose."""
    gains = np.random.default_rng(1).normal(effect, 1, (300, actors))
    swaps = {"permutation_type": "samples", "n_resamples": np.inf, "vectorized": True}
    found = [permutation_test((row,), np.mean, **swaps).pvalue < alpha for row in gains]
    power = power_of_swaps(effect, actors, alpha)
    assert np.mean(found) == pytest.approx(power, abs=0.08)
    if 4 / 2**actors > alpha:
        assert power == pytest.approx(norm.cdf(effect) ** actors + norm.cdf(-effect) ** actors, abs=0.03)


def test_actors_needed_and_smallest_difference_are_each_others_reverse():
    for points, deviation, pairs in ((5, 8, 1), (3, 11, 36), (2, 4, 3)):
        actors = actors_needed(points, deviation, pairs=pairs)
        assert smallest_difference(actors, deviation, pairs=pairs) <= points
        assert smallest_difference(actors - 1, deviation, pairs=pairs) > points
    assert actors_needed(-5, 8) == actors_needed(5, 8) < actors_needed(5, 8, pairs=36)
    assert actors_needed(1.5, 1) == 7  # where a t-test's power would say 6
    for pairs in (4, 10, 36):  # the smallest difference falls with more actors
        found = [smallest_difference(actors, 8, pairs=pairs) for actors in range(30, 61)]
        assert found == sorted(found, reverse=True) and 0 < found[-1] < found[0] < 8


def test_the_page_on_statistics_prints_the_numbers_that_come_out():
    code = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/statistics.md").read_text(encoding="utf-8"), re.M | re.S)
    lines = re.findall(r"^(\w+\(.*\))  # ([\d.]+)\b", "\n".join(code), re.M)
    assert [call.split("(")[0] for call, _ in lines] == ["actors_needed", "actors_needed", "smallest_difference"]
    for call, printed in lines:
        assert eval(call) == pytest.approx(float(printed), abs=0.05), call


def test_fewer_actors_than_p_needs_show_nothing_however_large_the_difference():
    for times_the_deviation in (3, 5, 8, 15, 20, 40, 99):  # among them effects of which statsmodels knows no power
        assert actors_needed(times_the_deviation, 1) == 6 and 2 / 2**6 < 0.05 < 2 / 2**5
        assert actors_needed(times_the_deviation, 1, pairs=18) == 10 and 2 / 2**10 < 0.05 / 18 < 2 / 2**9
    assert smallest_difference(5, 1) == math.inf and smallest_difference(6, 1) < 3


def test_a_sentence_says_who_has_more_or_what_the_actors_could_show(rng):
    systems = dict(zip(["none", "softhard", "hard"], people(rng, ahead=(0.0, 0.2, 0.2)), strict=True))
    rows = [row for _, row in differences(systems, conditions=AV).iterrows()]
    size = -rows[0]["difference"]
    assert in_words(rows[0]).startswith(f"In AV softhard has {size:.1f} points more than none (95 %: ")
    assert in_words(rows[0]).endswith("p < 0.001 after Holm; 24 actors in 6 folds trained once).")
    power = rows[2]["deviation"] * TTestPower().solve_power(nobs=6, alpha=0.05 / 3, power=0.8)
    assert f"would show a true difference of {power:.1f} in four cases of five" in in_words(rows[2])
    one = answers(np.arange(6) < np.array([[1], [2], [3], [2]]))
    (row,) = (row for _, row in differences({"a": one, "b": answers(np.ones((4, 6), bool))}, conditions=AV).iterrows())
    assert row["p"] == 0.125 and in_words(row).endswith(
        "and 4 actors in 1 fold trained once cannot show any difference."
    )


def test_a_gain_stands_beside_the_smallest_p_of_its_own_test(rng):
    for actors, smallest in ((4, 0.125), (16, 0.0002)):
        systems = dict(zip("ab", people(rng, actors, 20, ahead=(0.9, -0.9)), strict=True))
        table = differences({name: rows.assign(fold=0) for name, rows in systems.items()}, conditions=AV)
        assert table.p[0] == pytest.approx(smallest), "all actors gain all there is"
        assert f"**{smallest}** is the smallest p that swaps of {actors} actors can give" in gains(table)
    table = differences(systems, conditions=AV)
    p = f"**{table.p[0]:.2g}** is the smallest p, of a t-test (16 actors in 4 folds trained once)."
    assert gains(table).endswith(f"points gained with a over b. {p}")


def test_an_interval_that_holds_0_keeps_its_signs_and_one_actor_shows_nothing():
    gains = np.array([13, 13, 1, 1, 1, 1, 1, 1])  # clips of 20: all actors gain, which only the swaps are sure of
    zero = np.zeros((8, 20), bool)
    first, second = answers(np.arange(20) < gains[:, None]).assign(fold=0), answers(zero).assign(fold=0)
    for names in ("ab", "ba"):
        systems = {name: {"a": first, "b": second}[name] for name in names}
        row = differences(systems, conditions=AV).iloc[0]
        low, high = (row["low"], row["high"]) if names == "ab" else (-row["high"], -row["low"])
        sentence = f"In AV a has 20.0 points more than b (95 %: {low:.1f} to {high:.1f}; p 0.008"
        assert low < 0 < high and in_words(row).startswith(sentence)
    alone = {name: table[table["actor"] == 1] for name, table in (("a", first), ("b", second))}
    row = differences(alone, conditions=AV).iloc[0]
    assert in_words(row).endswith("and 1 actor in 1 fold trained once cannot show any difference.")


def test_a_ladder_falls_by_its_steps(rng):
    tables = people(rng, actors=20, ahead=(0.3, 0.1, 0.05, 0.0))
    rungs = dict(zip(RUNGS, [tables[0], *[table[table.fold == 0] for table in tables[1:3]], tables[3]], strict=True))
    found = ladder(rungs)
    assert tuple(found.rung) == RUNGS and found.actors.tolist() == [20, 4, 4, 20] and math.isnan(found.step[0])
    assert found.step[1:].tolist() == pytest.approx(np.diff(found.value).tolist())
    with pytest.raises(InputError, match="no system has condition 'A'"):
        ladder(rungs, "A")
