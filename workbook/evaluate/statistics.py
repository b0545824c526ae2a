"""How sure one can be of a metric: intervals, systems compared in pairs, and how many actors it takes.

Only predictions are read. A *system* is a table as `evaluation.predict` makes it, with all its folds. It may hold
several seeds: a clip then counts with the mean over its predictions.

Clips of one person are alike, so a bootstrap draws people, not clips, and a test swaps them. docs/statistics.md has the
simulations that show what both are worth. Do not trust any interval of one fold's four test actors. The intervals speak
of other people, not of other trainings: the actors of a fold share one network.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import DegenerateDataWarning, bootstrap, norm, permutation_test, t
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from workbook import InputError
from workbook.evaluate.metrics import metrics_of
from workbook.task import AVERAGED

CONDITIONS = (*AVERAGED, "M")
LEVEL, RESAMPLES, BATCH = 0.95, 9999, 1000  # of an interval; random draws; draws in memory at a time
NO_MCNEMAR = dict.fromkeys(("p_mcnemar", "only_first", "only_second"), math.nan)
Systems = dict[str, pd.DataFrame]  # by name


def intervals(
    systems: Systems,
    metric: str = "accuracy",
    conditions: Sequence[str] = CONDITIONS,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per system and condition: system, condition, value, low, high, actors, clips, folds.

    metric : a name in `evaluate.metrics`      level : share of intervals that hold the truth
    low, high : from a bootstrap of actors; NaN with one actor. M, the mean of AV, A and V, draws the same actors for
        all three, and is NaN where a draw may leave one of these without a clip.

    Percentiles are widened for few actors, by Student's t and n / (n - 1): Hesterberg, What teachers should know about
    the bootstrap, The American Statistician 69 (2015), `expanded percentile`.
    A condition that a system lacks has no row. Raises InputError for other tables, metrics and conditions.
    """
    _check(systems, metric, conditions)
    rows = []
    for name, table in systems.items():
        for condition in _tested(table, conditions):
            estimate = value_and_interval(*_sums(table, condition, metric), level, resamples, seed)
            sizes = {f"{column}s": _rows(table, condition)[column].nunique() for column in ("actor", "clip", "fold")}
            rows.append({"system": name, "condition": condition} | estimate | sizes)
    return pd.DataFrame(rows)


def differences(
    systems: Systems,
    metric: str = "accuracy",
    conditions: Sequence[str] = CONDITIONS,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per pair of systems and condition, first less second, on the same clips.

    difference, low, high : with the interval of a bootstrap of actors, as in `intervals`
    p : of a two-sided permutation test that swaps the two systems for all clips of an actor. Up to 13 actors are
        swapped in every way. p is never below 2 / 2^n with n actors (0.125 for 4), nor below 2 / resamples: for more
        than 200 pairs, give more than the usual 9999.
    p_holm : p after Holm's correction over all `pairs` of the condition
    p_mcnemar : McNemar's exact test of clips; NaN except for the accuracy of one condition and one seed
    only_first, only_second : clips that only one of the two has right; NaN where p_mcnemar is
    effect : mean of the actors' own differences in units of their standard deviation (d_z), `deviation` (points)
    actors, clips : their numbers

    p swaps actors because McNemar's test takes clips of one person for independent: of equal systems it finds 9 to 24 %
    different, not 5 % (docs/statistics.md).
    Raises InputError as `intervals` does, for fewer than two systems, and where two systems were tested on different
    clips, as when folds are missing: `common_clips` cuts them to those that all have.
    """
    _check(systems, metric, conditions)
    rows = []
    for first, second in combinations(systems, 2):
        pair = systems[first], systems[second]
        for condition in _tested(pair[0], _tested(pair[1], conditions)):
            _check_same_clips(first, second, *(_rows(table, condition) for table in pair))
            difference = _difference(pair, condition, metric, level, resamples, seed)
            rows.append({"first": first, "second": second, "condition": condition, **difference})
    if not rows:
        raise InputError("no two of these systems share a condition: there is nothing to compare")
    table = pd.DataFrame(rows)
    by_condition = table.groupby("condition")["p"]
    holm = by_condition.transform(holm_corrected)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", holm)
    return table.assign(pairs=by_condition.transform("size"))


def holm_corrected(p: Sequence[float]) -> np.ndarray:
    """(N,) p after Holm's correction over all N."""
    return multipletests(p, method="holm")[1] if len(p) > 1 else np.asarray(p)  # statsmodels takes half a second


def _difference(pair: tuple, condition: str, metric: str, level: float, resamples: int, seed: int) -> dict[str, float]:
    (first, score), (second, _) = (_sums(table, condition, metric) for table in pair)
    actors, value_of = np.arange(first.shape[1]), statistic(np.concatenate([first, second], axis=1), score)
    sides = actors, actors + len(actors)  # where each actor's sums of the first and the second system stand

    def difference(index, other, axis=-1):
        return np.round(value_of(index) - value_of(other), 9)  # equal sums stay equal

    low, high = actor_interval(
        lambda index, axis: difference(index, index + len(actors)), actors, level, resamples, seed
    )
    swaps = {"permutation_type": "samples", "n_resamples": resamples, "batch": BATCH, "vectorized": True}
    swaps["rng"] = np.random.default_rng(seed)
    p = permutation_test(sides, difference, **swaps).pvalue if len(actors) > 1 else 1.0
    by_actor = difference(*(side[:, None] for side in sides))
    by_actor = by_actor[np.isfinite(by_actor)]  # an actor may lack one of M's three conditions
    deviation = float(by_actor.std(ddof=1)) if len(by_actor) > 1 else math.nan
    row = {"difference": float(difference(*sides)), "low": low, "high": high, "p": float(p)}
    row |= _mcnemar(pair, condition) if metric == "accuracy" and condition != "M" else NO_MCNEMAR
    row |= {"effect": float(by_actor.mean()) / deviation if deviation else math.nan, "deviation": deviation}
    return row | {"actors": len(actors), "clips": _rows(pair[0], condition)["clip"].nunique()}


def _mcnemar(pair: tuple[pd.DataFrame, pd.DataFrame], condition: str) -> dict[str, float]:
    """McNemar's test of one condition; NaN where clips have several predictions, as from several seeds."""
    rows = [_rows(table, condition).sort_values("clip") for table in pair]
    if any(own["clip"].duplicated().any() for own in rows):
        return NO_MCNEMAR
    first, second = (metrics_of(own)["accuracy"].columns(own)[:, 0] for own in rows)
    ahead, behind = int((first > second).sum()), int((first < second).sum())
    p = float(mcnemar([[0, ahead], [behind, 0]], exact=True).pvalue)
    return {"p_mcnemar": p, "only_first": ahead, "only_second": behind}


def in_words(row: pd.Series, alpha: float = 0.05) -> str:
    """A row of `differences` as a sentence: which system has more, or what the actors could show."""
    more, less = (row["first"], row["second"])[:: 1 if row["difference"] > 0 else -1]
    size, condition, actors = f"{abs(row['difference']):.1f} points", row["condition"], int(row["actors"])
    if row["p_holm"] < alpha:
        low, high = sorted((row["low"], row["high"]), key=abs)
        interval = f"95 %: {abs(low):.1f} to {abs(high):.1f}; p {row['p_holm']:.3f} after Holm"
        return f"In {condition} {more} has {size} more than {less} ({interval}; {actors} actors)."
    sentence = f"{row['first']} and {row['second']} cannot be told apart in {condition}: they are {size} apart"
    smallest = smallest_difference(actors, row["deviation"], pairs=row["pairs"]) if row["deviation"] > 0 else 0.0
    if not math.isfinite(smallest):
        return f"{sentence}, and {actors} actors cannot show any difference."
    return f"{sentence}; {actors} actors would show a true difference of {smallest:.1f} in four cases of five."


def common_clips(systems: Systems) -> Systems:
    """The same systems, each condition cut to the clips that all systems which have it were tested on."""
    clips: dict[str, set[str]] = {}
    for table in systems.values():
        for condition, own in table.groupby("condition")["clip"]:
            clips[condition] = clips.get(condition, set(own)) & set(own)
    common = {
        name: [clip in clips[condition] for condition, clip in table[["condition", "clip"]].to_numpy()]
        for name, table in systems.items()
    }
    return {name: table[common[name]].reset_index(drop=True) for name, table in systems.items()}


def actors_needed(
    difference: float, deviation: float, *, power: float = 0.8, alpha: float = 0.05, pairs: int = 1
) -> int:
    """The number of actors with which a true difference is found (p below alpha) with probability `power`.

    difference : in points      deviation : of the actors' differences, in points; column `deviation` of `differences`
    pairs : number of pairs compared; the smallest p must then be below alpha / pairs (Holm's first step)

    The power is that of the paired t-test, which the permutation test shares. The number is never so small that p
    cannot fall below alpha. difference must not be 0, and deviation be above 0.
    """
    effect = abs(difference) / deviation
    fewest = math.ceil(1 + math.log2(pairs / alpha))  # 2 / 2^n is the smallest p
    if not TTestPower().power(effect, fewest, alpha / pairs) < power:  # NaN where it is too near to 1
        return fewest
    return math.ceil(_solved(effect_size=effect, alpha=alpha / pairs, power=power))


def smallest_difference(
    actors: int, deviation: float, *, power: float = 0.8, alpha: float = 0.05, pairs: int = 1
) -> float:
    """The smallest true difference in points that these actors show with probability `power`; as `actors_needed`.

    Infinite where they are too few for p to fall below alpha / pairs.
    """
    if 2 / 2**actors > alpha / pairs:
        return math.inf
    return deviation * _solved(nobs=actors, alpha=alpha / pairs, power=power)


def _solved(**known: float) -> float:
    """Solves for the one of effect_size, nobs, alpha and power that is missing."""
    return float(np.squeeze(TTestPower().solve_power(**known)))  # statsmodels returns a number or an array of one


def _rows(table: pd.DataFrame, condition: str) -> pd.DataFrame:
    """The predictions of a condition; of M, those of the three that it is the mean of."""
    return table[table["condition"].isin(AVERAGED if condition == "M" else (condition,))]


def _tested(table: pd.DataFrame, conditions: Sequence[str]) -> list[str]:
    """Those of the conditions that a table has."""
    there = set(table["condition"])
    return [name for name in conditions if (set(AVERAGED) <= there if name == "M" else name in there)]


def _sums(table: pd.DataFrame, condition: str, metric: str) -> tuple[np.ndarray, Callable]:
    """What a metric adds up, by condition and actor (P, A, S), and its score; P is 3 for M, else 1."""
    columns, score = metrics_of(table)[metric]
    parts = []
    for name in AVERAGED if condition == "M" else (condition,):
        rows = table[table["condition"] == name]
        times = rows.groupby("clip")["clip"].transform("size").to_numpy()[:, None]  # predictions of a clip
        parts.append(pd.DataFrame(columns(rows) / times).groupby(rows["actor"].to_numpy()).sum())
    actors = sorted(set().union(*(part.index for part in parts)))
    return np.stack([part.reindex(actors, fill_value=0.0) for part in parts]), score


def statistic(sums: np.ndarray, score: Callable) -> Callable:
    """The metric as a function of actors for `actor_interval`: (index (..., A), axis=-1) -> (...).

    sums : (P, A, S), the columns of a metric by condition and actor; the result is the mean over the conditions
    """

    def value(index: np.ndarray, axis: int = -1) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):  # NaN where none of these actors has a clip
            return score(sums[:, index].sum(axis=-2)).mean(axis=0)

    return value


def value_and_interval(
    sums: np.ndarray, score: Callable, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, float]:
    """A metric of all actors, and its interval: value, low, high; sums, score : as in `statistic`."""
    value_of, actors = statistic(sums, score), np.arange(sums.shape[1])
    low, high = actor_interval(value_of, actors, level, resamples, seed)
    return {"value": float(value_of(actors)), "low": low, "high": high}


def actor_interval(
    statistic: Callable, actors: np.ndarray, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The interval (low, high) of a statistic, by a bootstrap of actors, widened for few as in `intervals`.

    statistic : (actors (..., A), axis=-1) -> (...), of actors drawn from `actors` (A,)
    Both ends are NaN with one actor.
    """
    n = len(actors)
    if n < 2:
        return math.nan, math.nan
    tail = norm.cdf(math.sqrt(n / (n - 1)) * t.ppf((1 - level) / 2, n - 1))
    settings = {"method": "percentile", "n_resamples": resamples, "batch": BATCH, "vectorized": True}
    settings |= {"confidence_level": 1 - 2 * tail, "rng": np.random.default_rng(seed)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # of M without a clip in one of its conditions: NaN
        ends = bootstrap((actors,), statistic, **settings).confidence_interval
    return float(ends.low), float(ends.high)


def _check(systems: Systems, metric: str, conditions: Sequence[str]) -> None:
    """Raises InputError for a table that holds no predictions, and for an unknown metric or condition."""
    for name, table in systems.items():
        missing = [column for column in ("clip", "actor", "fold", "condition", "label") if column not in table]
        if missing:
            raise InputError(
                f"the table of {name} has no column {missing[0]}: give predictions as predict() makes them"
            )
        if metric not in metrics_of(table):
            raise InputError(f"metric is '{metric}'; {name} has {', '.join(metrics_of(table))}")
        if (table.groupby(["condition", "clip"]).size().groupby("condition").nunique() > 1).any():
            raise InputError(f"in the table of {name} some clips stand more often than others: give each as often")
    there = {name for name in conditions if any(_tested(table, [name]) for table in systems.values())}
    unknown = [name for name in conditions if name not in there and (name not in CONDITIONS or not there)]
    if unknown:
        names = dict.fromkeys(name for table in systems.values() for name in table["condition"])
        raise InputError(f"no system has condition '{unknown[0]}'; choose from {', '.join(names)}")


def _check_same_clips(first: str, second: str, *tables: pd.DataFrame) -> None:
    """Raises InputError where one of two systems lacks clips of the other, or has other labels for them."""
    keys = ["condition", "clip"]
    firsts, seconds = (table.drop_duplicates(keys).set_index(keys) for table in tables)
    for name, clips, others in ((second, firsts, seconds), (first, seconds, firsts)):
        lacking = clips[~clips.index.isin(others.index)]
        if len(lacking):
            folds = " ".join(map(str, sorted(set(lacking["fold"]))))
            raise InputError(
                f"{first} and {second} were tested on different clips: {name} lacks {len(lacking)} predictions of fold "
                f"{folds}, such as {lacking.index[0][1]} in {lacking.index[0][0]}; run what is missing, or compare "
                f"common_clips(systems)"
            )
    if not firsts["label"].equals(seconds["label"].reindex(firsts.index)):
        raise InputError(f"{first} and {second} have other labels for the same clips: do they have the same classes?")
