"""How sure one can be of a metric: intervals, systems compared in pairs, and how many people it takes.

Only predictions are read. A *system* is a table as `evaluation.predict` makes it, with all its folds. It may hold
several seeds: a clip then counts with the mean over its predictions.

Clips of one person are alike, and the people of a fold share one trained network. So the unit is the fold: from fold to
fold people and network change together. Where one fold was tested, the unit is the actor. Then an interval speaks of
other people only, not of other trainings, unless there are several seeds. docs/statistics.md has simulations of all.
"""

import math
from collections.abc import Sequence
from functools import cache
from itertools import combinations, count
from typing import Literal

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import permutation_test, t
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.power import TTestPower

from workbook import InputError
from workbook.evaluate.metrics import Metric, metrics_of
from workbook.task import AVERAGED

CONDITIONS = (*AVERAGED, "M")
LEVEL, RESAMPLES, BATCH = 0.95, 9999, 1000  # of an interval; random swaps; swaps in memory at a time
ALPHA, POWER = 0.05, 0.8  # a difference shows if p is below; how often it should
ENUMERATED = 13  # actors: up to these the test swaps in every way
NO_MCNEMAR = dict.fromkeys(("p_mcnemar", "only_first", "only_second"), math.nan)
Systems = dict[str, pd.DataFrame]  # by name
Errors = list[tuple[float, int]]  # a variance of a value, and its degrees of freedom, for each source of chance


def intervals(systems: Systems, metric: str = "accuracy", conditions: Sequence[str] = CONDITIONS) -> pd.DataFrame:
    """One row per system and condition: system, condition, value, low, high, and the columns of `sizes`.

    metric : a name in `evaluate.metrics`      low, high : as in `estimate`; M is the mean of AV, A and V

    A condition that a system lacks has no row. Raises InputError for other tables, metrics and conditions.
    """
    _check(systems, metric, conditions)
    rows = []
    for name, table in systems.items():
        for condition in _tested(table, conditions):
            parts = _parts(table, condition)
            row = estimate(parts, metrics_of(table)[metric])
            rows.append({"system": name, "condition": condition} | row | sizes(pd.concat(parts)))
    return pd.DataFrame(rows)


def estimate(parts: Sequence[pd.DataFrame], metric: Metric) -> dict[str, float]:
    """A metric of predictions and its 95 % interval: value, low, high.

    parts : predictions of one condition each; the value is the mean over them

    The interval is Student's, with the jackknife's standard error of folds (Efron and Stein, Annals of Statistics 9,
    1981). For accuracy it is that of the folds' own accuracies. It holds other people and other trainings. Of a single
    fold the error is that of actors, and of several seeds also that of seeds; their variances are added (Welch).
    low and high are NaN with one actor.
    """
    rows, value = pd.concat(parts), _value(parts, metric)
    units = ["fold"] if "fold" in rows and rows["fold"].nunique() > 1 else ["actor"]
    units += ["seed"] if units == ["actor"] and with_seeds(rows)["seed"].nunique() > 1 else []
    low, high, _ = student(value, [_error(_without_each(parts, metric, unit)) for unit in units])
    low, high = np.clip([low, high], *metric.limits).tolist()
    return {"value": value, "low": low, "high": high}


def student(value: float, errors: Errors) -> tuple[float, float, float]:
    """low and high of Student's 95 % interval of a value, and the two-sided p that it is not 0.

    errors : independent sources of chance. Degrees of freedom of several are Welch's and Satterthwaite's.
    """
    variance = sum(own for own, _ in errors)
    if math.isnan(variance):
        return math.nan, math.nan, 1.0
    if variance == 0:
        return value, value, float(value == 0)
    error, freedom = math.sqrt(variance), _freedom(errors)
    reach = float(t.ppf((1 + LEVEL) / 2, freedom)) * error
    return value - reach, value + reach, float(2 * t.sf(abs(value) / error, freedom))


def error_of_mean(values: np.ndarray) -> tuple[float, int]:
    """The variance of the mean of independent values (N,), NaN for one, and its degrees of freedom."""
    n = len(values)
    return (float(np.var(values, ddof=1)) / n if n > 1 else math.nan), n - 1


def _freedom(errors: Errors) -> float:
    variance = sum(own for own, _ in errors)
    if not variance > 0:
        return min(freedom for _, freedom in errors)
    return variance**2 / sum(own**2 / freedom for own, freedom in errors if own > 0)


def sizes(rows: pd.DataFrame) -> dict[str, int]:
    """actors, clips, folds and seeds: their numbers in predictions; seeds counts the trainings of each fold."""
    counts = {f"{name}s": rows[name].nunique() for name in ("actor", "clip", "fold")}
    return counts | {"seeds": int(rows.groupby(["condition", "clip"]).size().max())}


def with_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """The predictions with a column `seed`; where they have none, a clip's first prediction is of seed 0, and so on."""
    return table if "seed" in table else table.assign(seed=table.groupby(["condition", "clip"]).cumcount())


def _value(parts: Sequence[pd.DataFrame], metric: Metric) -> float:
    return float(metric.of(_by_unit(parts, metric, "actor").sum(axis=1)).mean())


def _without_each(parts: Sequence[pd.DataFrame], metric: Metric, unit: str) -> np.ndarray:
    """The metric (U,) without each fold, actor or seed; NaN where nothing is left."""
    sums = _by_unit(parts, metric, unit)
    left = np.round(sums.sum(axis=1, keepdims=True) - sums, 9)  # what is empty is 0
    return metric.of(left).mean(axis=0)


def _error(without_each: np.ndarray) -> tuple[float, int]:
    """The jackknife's variance of a value, NaN for one unit, and its degrees of freedom."""
    variance, freedom = error_of_mean(without_each)
    return freedom**2 * variance, freedom


def _by_unit(parts: Sequence[pd.DataFrame], metric: Metric, unit: str) -> np.ndarray:
    """What a metric adds up, by part and unit: (P, U, S); a clip with several predictions counts with their mean."""
    tables = []
    for rows in parts:
        times = len(rows) / rows["clip"].nunique()
        by = (with_seeds(rows) if unit == "seed" else rows)[unit]
        tables.append(pd.DataFrame(np.asarray(metric.columns(rows), float) / times).groupby(by.to_numpy()).sum())
    units = sorted(set().union(*(table.index for table in tables)))
    return np.stack([table.reindex(units, fill_value=0.0) for table in tables])


def differences(
    systems: Systems,
    metric: str = "accuracy",
    conditions: Sequence[str] = CONDITIONS,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per pair of systems and condition, first less second, on the same clips.

    difference, low, high : with the interval of `estimate`, of the differences
    p : of several folds that of the paired t-test of folds. Of one fold with several seeds of both systems that of a
        t-test with the variances of actors and of seeds. Of one fold and seed that of a permutation test, which swaps
        the two systems for all clips of an actor, up to 13 actors in every way; it is never below 2 / 2^n with n
        actors (0.125 for 4), nor below 2 / resamples.
    p_holm : p after Holm's correction over all `pairs` of the condition
    p_mcnemar : McNemar's exact test of clips; NaN except for the accuracy of one condition and one seed
    only_first, only_second : clips that only one of the two has right; NaN where p_mcnemar is
    test, unit, units : swaps | t; what it counts, fold | actor, and how many
    effect : the difference in units of `deviation`, the standard deviation of the units' differences (d_z)
    actors, clips, folds, seeds : as in `sizes`; of seeds, the smaller number

    McNemar's test takes clips of one person for independent, and a swap of actors takes people of one network for
    independent: both find too many equal systems different (docs/statistics.md).
    Raises InputError as `intervals` does, for fewer than two systems, and where two systems were tested on different
    clips, as when folds are missing: `common_clips` cuts them to those that all have.
    """
    _check(systems, metric, conditions)
    rows = []
    for first, second in combinations(systems, 2):
        pair = systems[first], systems[second]
        for condition in _tested(pair[0], _tested(pair[1], conditions)):
            _check_same_clips(first, second, *(pd.concat(_parts(table, condition)) for table in pair))
            difference = _difference(pair, condition, metric, resamples, seed)
            rows.append({"first": first, "second": second, "condition": condition, **difference})
    if not rows:
        raise InputError("no two of these systems share a condition: there is nothing to compare")
    table = pd.DataFrame(rows)
    by_condition = table.groupby("condition")["p"]
    table.insert(table.columns.get_loc("p") + 1, "p_holm", by_condition.transform(holm_corrected))
    return table.assign(pairs=by_condition.transform("size"))


def holm_corrected(p: Sequence[float]) -> np.ndarray:
    """(N,) p after Holm's correction over all N. That of statsmodels collects garbage, up to a second at each call."""
    p = np.asarray(p, float)
    order = np.argsort(p)
    corrected = np.empty_like(p)
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return corrected


def _difference(pair: tuple, condition: str, metric: str, resamples: int, seed: int) -> dict[str, float]:
    sides, own = [_parts(table, condition) for table in pair], metrics_of(pair[0])[metric]
    counts = [sizes(pd.concat(parts)) for parts in sides]
    size = counts[0] | {"seeds": min(counts[0]["seeds"], counts[1]["seeds"])}
    unit = "fold" if size["folds"] > 1 else "actor"
    test = "swaps" if unit == "actor" and size["seeds"] == 1 else "t"
    difference = round(float(np.subtract(*(_value(parts, own) for parts in sides))), 9)  # equal sums stay equal
    errors = [_error(np.subtract(*(_without_each(parts, own, unit) for parts in sides)).round(9))]
    if unit == "actor" and test == "t":  # the trainings of the two have nothing in common
        errors += [_error(_without_each(parts, own, "seed")) for parts in sides]
    low, high, p = student(difference, errors)
    if test == "swaps":
        p = _p_of_swaps(sides, own, resamples, seed)
    units = _freedom(errors) + 1
    deviation = math.sqrt(units * sum(variance for variance, _ in errors))
    row = {"difference": difference, "low": low, "high": high, "p": p}
    row |= _mcnemar(pair, condition) if metric == "accuracy" and condition != "M" else NO_MCNEMAR
    row |= {"effect": difference / deviation if deviation else math.nan, "deviation": deviation}
    return row | {"test": test, "unit": unit, "units": units} | size


def _p_of_swaps(sides: list, metric: Metric, resamples: int, seed: int) -> float:
    """p of the permutation test that swaps the two systems for all clips of an actor."""
    first, second = (_by_unit(parts, metric, "actor") for parts in sides)
    sums, actors = np.concatenate([first, second], axis=1), np.arange(first.shape[1])
    if len(actors) < 2:
        return 1.0

    def difference(index, other, axis=-1):
        values = [metric.of(sums[:, chosen].sum(axis=-2)).mean(axis=0) for chosen in (index, other)]
        return np.round(np.subtract(*values), 9)  # equal sums stay equal

    swaps = {"permutation_type": "samples", "n_resamples": resamples, "batch": BATCH, "vectorized": True}
    swaps["rng"] = np.random.default_rng(seed)
    return float(permutation_test((actors, actors + len(actors)), difference, **swaps).pvalue)


def _mcnemar(pair: tuple[pd.DataFrame, pd.DataFrame], condition: str) -> dict[str, float]:
    """McNemar's test of one condition; NaN where clips have several predictions, as from several seeds."""
    rows = [table[table["condition"] == condition].sort_values("clip") for table in pair]
    if any(own["clip"].duplicated().any() for own in rows):
        return NO_MCNEMAR
    first, second = (metrics_of(own)["accuracy"].columns(own)[:, 0] for own in rows)
    ahead, behind = int((first > second).sum()), int((first < second).sum())
    p = float(mcnemar([[0, ahead], [behind, 0]], exact=True).pvalue)
    return {"p_mcnemar": p, "only_first": ahead, "only_second": behind}


def in_words(row: pd.Series) -> str:
    """A row of `differences` as a sentence: which system has more, or what these folds or actors could show."""
    more, less = (row["first"], row["second"])[:: 1 if row["difference"] > 0 else -1]
    size, condition = f"{abs(row['difference']):.1f} points", row["condition"]
    warning = " One training of each: others may differ." if row["test"] == "swaps" else ""
    if row["p_holm"] < ALPHA:
        low, high = sorted(math.copysign(1, row["difference"]) * row[end] for end in ("low", "high"))
        p = f"p {row['p_holm']:.3f}" if row["p_holm"] >= 0.001 else "p < 0.001"
        interval = f"95 %: {low:z.1f} to {high:z.1f}; {p} after Holm"
        return f"In {condition} {more} has {size} more than {less} ({interval}; {basis(row)}).{warning}"
    sentence = f"{row['first']} and {row['second']} cannot be told apart in {condition}: they are {size} apart"
    smallest = deviation = row["deviation"]  # NaN of one actor
    if deviation > 0:
        smallest = smallest_difference(row["units"], deviation, pairs=row["pairs"], test=row["test"])
    if not math.isfinite(smallest):
        return f"{sentence}, and {basis(row)} cannot show any difference."
    return f"{sentence}; {basis(row)} would show a true difference of {smallest:.1f} in four cases of five.{warning}"


def basis(row: pd.Series) -> str:
    """What a row of `differences` or `intervals` stands on, such as `20 actors in 5 folds trained 3 times`."""
    folds, seeds, actors = (int(row[name]) for name in ("folds", "seeds", "actors"))
    people = f"{actors} actor{'s' * (actors != 1)} in {folds} fold{'s' * (folds != 1)}"
    return f"{people} trained {'once' if seeds == 1 else f'{seeds} times'}"


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


def actors_needed(difference: float, deviation: float, *, pairs: int = 1, test: Literal["swaps", "t"] = "swaps") -> int:
    """The number of actors with which a true difference is found (p below 0.05) in four cases of five.

    difference : in points, not 0      deviation : of the actors' differences, in points, above 0
    pairs : number of pairs compared; the smallest p must then be below 0.05 / pairs (Holm's first step)
    test : as in `differences`; t : the number of folds, with their deviation
    """
    effect, alpha = abs(difference) / deviation, ALPHA / pairs
    fewest = 2 if test == "t" else math.ceil(1 - math.log2(alpha))  # 2 / 2^n is the smallest p
    if TTestPower().power(effect, fewest, alpha) < POWER:  # else it has more, or NaN, which is too near to 1
        fewest = math.ceil(_solved(effect_size=effect, alpha=alpha))
    if test == "t":
        return fewest
    return next(n for n in count(fewest) if n > ENUMERATED or power_of_swaps(effect, n, alpha) >= POWER)


def smallest_difference(
    actors: float, deviation: float, *, pairs: int = 1, test: Literal["swaps", "t"] = "swaps"
) -> float:
    """The smallest true difference in points that these actors, or folds, show; as `actors_needed`.

    Infinite where they are too few for p to fall below 0.05 / pairs.
    """
    if test == "swaps" and 2 / 2**actors > ALPHA / pairs:
        return math.inf
    return deviation * _smallest_effect(actors, ALPHA / pairs, test)


@cache
def _smallest_effect(actors: float, alpha: float, test: str) -> float:
    effect = _solved(nobs=actors, alpha=alpha)
    if test == "t" or actors > ENUMERATED:
        return effect
    return brentq(lambda tried: power_of_swaps(tried, actors, alpha) - POWER, effect / 2, 3 * effect, xtol=0.005)


def power_of_swaps(effect: float, actors: int, alpha: float, times: int = 2000) -> float:
    """How often a swap of actors has p below alpha, simulated: their differences are normal with mean `effect`.

    effect : in units of the actors' standard deviation      actors : up to about 13, which are swapped in every way
    """
    gains = effect + np.random.default_rng(0).standard_normal((times, actors))
    signs = 1 - 2 * (np.arange(2 ** (actors - 1))[:, None] >> np.arange(actors) & 1)  # half of all ways, up to the sign
    sums = np.abs(gains @ signs.T)  # (times, 2^(A-1)); the first are not swapped
    return float(((sums >= sums[:, :1] - 1e-9).mean(axis=1) < alpha).mean())


def _solved(**known: float) -> float:
    """Solves for the one of effect_size, nobs and alpha of the t-test that is missing."""
    return float(np.squeeze(TTestPower().solve_power(power=POWER, **known)))  # a number or an array of one


def _parts(table: pd.DataFrame, condition: str) -> list[pd.DataFrame]:
    """The predictions of a condition, or of each of the three that M is the mean of."""
    return [table[table["condition"] == name] for name in (AVERAGED if condition == "M" else (condition,))]


def _tested(table: pd.DataFrame, conditions: Sequence[str]) -> list[str]:
    """Those of the conditions that a table has."""
    names = set(table["condition"])
    return [name for name in conditions if (set(AVERAGED) <= names if name == "M" else name in names)]


def _check(systems: Systems, metric: str, conditions: Sequence[str]) -> None:
    """Raises InputError for a table that holds no predictions, and for an unknown metric or condition."""
    for name, table in systems.items():
        missing = [column for column in ("clip", "actor", "fold", "condition", "label") if column not in table]
        if missing:
            raise InputError(f"the table of {name} has no column {missing[0]}: give predictions of predict()")
        if metric not in metrics_of(table):
            raise InputError(f"metric is '{metric}'; {name} has {', '.join(metrics_of(table))}")
        if (table.groupby(["condition", "clip"]).size().groupby("condition").nunique() > 1).any():
            raise InputError(f"in the table of {name} some clips stand more often than others: give each as often")
    tested = {name for name in conditions if any(_tested(table, [name]) for table in systems.values())}
    if unknown := [name for name in conditions if name not in tested and (name not in CONDITIONS or not tested)]:
        names = dict.fromkeys(name for table in systems.values() for name in table["condition"])
        raise InputError(f"no system has condition '{unknown[0]}'; choose from {', '.join(names)}")


def _check_same_clips(first: str, second: str, *tables: pd.DataFrame) -> None:
    """Raises InputError where one of two systems lacks clips of the other, or has other labels for them."""
    keys = ["condition", "clip"]
    firsts, seconds = (table.drop_duplicates(keys).set_index(keys) for table in tables)
    for name, clips, others in ((second, firsts, seconds), (first, seconds, firsts)):
        lacking = clips[~clips.index.isin(others.index)]
        if len(lacking):
            raise InputError(
                f"{first} and {second} were tested on different clips: {name} lacks {len(lacking)} predictions, such "
                f"as {lacking.index[0][1]} of fold {lacking['fold'].iloc[0]} in {lacking.index[0][0]}; run what is "
                f"missing, or compare common_clips(systems)"
            )
    if not firsts["label"].equals(seconds["label"].reindex(firsts.index)):
        raise InputError(f"{first} and {second} have other labels for the same clips: do they have the same classes?")
