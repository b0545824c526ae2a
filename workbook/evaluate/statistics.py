"""How sure one can be of a measure: intervals, systems compared in pairs, and how many actors it takes.

Only predictions are read. A *system* is a table as `evaluation.predict` makes it, with all its folds. It may hold
several seeds: a clip then counts with the mean over its predictions.

Clips of one person are alike, so chance draws people here, not clips. A simulation shows what that is worth: 60 clips
an actor, and actors whose accuracies have mean 60 and standard deviation 12 points (`test_coverage`, with -m slow). The
table says how often an interval of 95 % holds the true accuracy:

    actors                                  4    5    8   12   20   24
    of clips: as if all were independent   66   63   65   65   63   64 %
    bootstrap of actors, percentiles       81   83   89   91   93   94 %
    the same, widened: `intervals`         90   91   95   95   95   95 %

Do not trust any interval of one fold's four test actors. With eight actors or more, the widened ones can be trusted.
They speak of other people, not of other trainings: the actors of a fold share one network. If networks differ from
fold to fold by 3 points, an interval of 20 actors holds the truth in 93 % of cases; by 6 points, in 88 %.
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
from workbook.evaluate.measures import measures
from workbook.evaluate.metrics import AVERAGED

CONDITIONS = (*AVERAGED, "M")
LEVEL, RESAMPLES, BATCH = 0.95, 9999, 1000  # of an interval; random draws; how many of them are in memory at a time
Systems = dict[str, pd.DataFrame]  # by name


def intervals(
    systems: Systems,
    measure: str = "accuracy",
    conditions: Sequence[str] = CONDITIONS,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per system and condition: system, condition, value, low, high, actors, clips, folds.

    measure : as in `evaluate.metrics`; value is its name there      level : share of intervals that hold the truth
    low, high : from a bootstrap of actors; NaN with one actor. M, the mean of AV, A and V, draws the same actors for
        all three, and is NaN where actors can be drawn who have no clip in one of these.

    Percentiles are widened for few actors, by Student's t and n / (n - 1): Hesterberg, What teachers should know about
    the bootstrap, The American Statistician 69 (2015), `expanded percentile`.
    A condition that a system lacks has no row. Raises InputError for tables of another kind, an unknown measure, or a
    condition that no system has.
    """
    _check(systems, measure, conditions)
    rows = []
    for name, table in systems.items():
        for condition in _tested(table, conditions):
            own, sums, score = _rows(table, condition), *_sums(table, condition, measure)
            everyone = np.arange(sums.shape[1])
            low, high = actor_interval(
                lambda index, axis, s=sums, f=score: _value(f, s, index), everyone, level, resamples, seed
            )
            size = {"actors": len(everyone), "clips": own["clip"].nunique(), "folds": own["fold"].nunique()}
            value = float(_value(score, sums, everyone))
            rows.append({"system": name, "condition": condition, "value": value, "low": low, "high": high, **size})
    return pd.DataFrame(rows)


def differences(
    systems: Systems,
    measure: str = "accuracy",
    conditions: Sequence[str] = CONDITIONS,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per pair of systems and condition, first less second, on the same clips.

    difference, low, high : with the interval of a bootstrap of actors, as in `intervals`
    p : of a permutation test in which chance swaps the two systems for all clips of an actor, two-sided. Up to 13
        actors are swapped in every way. p is never below 2 / 2^n with n actors (0.125 for 4), nor below 2 / resamples:
        for more than 200 pairs, give more than the usual 9999.
    p_holm : p after Holm's correction over all pairs of the condition; `pairs` is how many these are
    p_mcnemar : McNemar's exact test of clips; NaN except for the accuracy of one condition and one seed
    only_first, only_second : clips that only one of the two has right; NaN where p_mcnemar is
    effect : mean of the actors' own differences in units of their standard deviation (d_z), `deviation` (points)
    actors, clips : how many

    Why p swaps actors: of equal systems, 5 % should have p < 0.05. Simulated as above (24 actors), with systems that
    suit each person by 4 (8) points of chance better or worse, these are 4 % (5 %) of them. By McNemar's test they
    are 9 % (24 %), since it takes clips of one person for independent; by a plain bootstrap of 8 actors, 11 %.
    Raises InputError as `intervals` does, for fewer than two systems, and where two systems were tested on different
    clips, as when folds are missing: `common_clips` cuts them to those that all have.
    """
    _check(systems, measure, conditions)
    if len(systems) < 2:
        raise InputError("a comparison needs two systems: give a dict of at least two tables")
    rows = []
    for first, second in combinations(systems, 2):
        pair = systems[first], systems[second]
        for condition in _tested(pair[0], _tested(pair[1], conditions)):
            _check_same_clips(first, second, *(_rows(table, condition) for table in pair))
            found = _difference(pair, condition, measure, level, resamples, seed)
            rows.append({"first": first, "second": second, "condition": condition, **found})
    table = pd.DataFrame(rows)
    if table.empty:
        raise InputError("no two of these systems share a condition: there is nothing to compare")
    by_condition = table.groupby("condition")["p"]
    holm = by_condition.transform(holm_corrected)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", holm)
    return table.assign(pairs=by_condition.transform("size"))


def holm_corrected(p: Sequence[float]) -> np.ndarray:
    """(N,) p after Holm's correction over all N."""
    return multipletests(p, method="holm")[1] if len(p) > 1 else np.asarray(p)  # statsmodels takes half a second


def _difference(pair: tuple, condition: str, measure: str, level: float, resamples: int, seed: int) -> dict[str, float]:
    (first, score), (second, _) = (_sums(table, condition, measure) for table in pair)
    everyone, both = np.arange(first.shape[1]), np.concatenate([first, second], axis=1)

    def difference(index, other, axis=-1):
        return np.round(_value(score, both, index) - _value(score, both, other), 9)  # equal sums stay equal

    low, high = actor_interval(
        lambda index, axis: difference(index, index + len(everyone)), everyone, level, resamples, seed
    )
    sides, rng = (everyone, everyone + len(everyone)), np.random.default_rng(seed)
    swapped = {"permutation_type": "samples", "n_resamples": resamples, "batch": BATCH, "vectorized": True}
    p = permutation_test(sides, difference, rng=rng, **swapped).pvalue if len(everyone) > 1 else 1.0
    own = difference(*(side[:, None] for side in sides))
    own = own[np.isfinite(own)]  # an actor may lack one of M's three conditions
    deviation = float(own.std(ddof=1)) if len(own) > 1 else math.nan
    found = {"difference": float(difference(*sides)), "low": low, "high": high, "p": float(p)}
    found |= _mcnemar(pair, condition) if measure == "accuracy" and condition != "M" else dict(NO_MCNEMAR)
    found |= {"effect": float(own.mean()) / deviation if deviation else math.nan, "deviation": deviation}
    return found | {"actors": len(everyone), "clips": _rows(pair[0], condition)["clip"].nunique()}


NO_MCNEMAR = dict.fromkeys(("p_mcnemar", "only_first", "only_second"), math.nan)


def _mcnemar(pair: tuple[pd.DataFrame, pd.DataFrame], condition: str) -> dict[str, float]:
    """McNemar's test of one condition; NaN where clips have several predictions, as from several seeds."""
    rows = [_rows(table, condition).sort_values("clip") for table in pair]
    if any(own["clip"].duplicated().any() for own in rows):
        return dict(NO_MCNEMAR)
    first, second = (measures(own)["accuracy"].columns(own)[:, 0] for own in rows)
    ahead, behind = int((first > second).sum()), int((first < second).sum())
    p = float(mcnemar([[0, ahead], [behind, 0]], exact=True).pvalue)
    return {"p_mcnemar": p, "only_first": ahead, "only_second": behind}


def as_cells(table: pd.DataFrame) -> pd.DataFrame:
    """`intervals` as a table to print: a row per system, a column per condition, such as `64.6 (58.1 to 70.9)`."""
    cells = table.assign(cell=[f"{row.value:.1f} ({row.low:.1f} to {row.high:.1f})" for row in table.itertuples()])
    order = {name: list(dict.fromkeys(table[name])) for name in ("system", "condition")}
    found = cells.pivot(index="system", columns="condition", values="cell")
    return found.reindex(index=order["system"], columns=order["condition"]).fillna("")


def in_words(row: pd.Series, alpha: float = 0.05) -> str:
    """A row of `differences` as a sentence: which system has more and how much, or what its actors could show."""
    more, less = (row["first"], row["second"])[:: 1 if row["difference"] > 0 else -1]
    size, condition, actors = f"{abs(row['difference']):.1f} points", row["condition"], int(row["actors"])
    if row["p_holm"] < alpha:
        low, high = sorted((row["low"], row["high"]), key=abs)
        sure = f"95 %: {abs(low):.1f} to {abs(high):.1f}; p {row['p_holm']:.3f} after Holm"
        return f"In {condition} {more} has {size} more than {less} ({sure}; {actors} actors)."
    told = f"{row['first']} and {row['second']} cannot be told apart in {condition}: they are {size} apart"
    seen = smallest_difference(actors, row["deviation"], pairs=row["pairs"]) if row["deviation"] > 0 else 0.0
    if not math.isfinite(seen):
        return f"{told}, and {actors} actors cannot show any difference."
    return f"{told}; {actors} actors would show a true difference of {seen:.1f} in four cases of five."


def common_clips(systems: Systems) -> Systems:
    """The same systems, each condition cut to the clips that all systems which have it were tested on.

    Raises InputError where a condition is left without a clip.
    """
    _check(systems)
    tested = pd.concat([table[["condition", "clip"]].drop_duplicates() for table in systems.values()])
    having = pd.concat([table["condition"].drop_duplicates() for table in systems.values()]).value_counts()
    counts = tested.value_counts().reset_index(name="systems")
    common = counts[counts["systems"] == counts["condition"].map(having)]
    lost = [name for name in having.index if name not in set(common["condition"])]
    if lost:
        raise InputError(f"in condition {lost[0]} no clip was tested by all of {', '.join(systems)}")
    kept = pd.MultiIndex.from_frame(common[["condition", "clip"]])
    return {
        name: table[pd.MultiIndex.from_frame(table[["condition", "clip"]]).isin(kept)].reset_index(drop=True)
        for name, table in systems.items()
    }


def actors_needed(
    difference: float, deviation: float, *, power: float = 0.8, alpha: float = 0.05, pairs: int = 1
) -> int:
    """The number of actors with which a true difference is seen (p below alpha) with probability `power`.

    difference : in points      deviation : of the actors' differences, in points; column `deviation` of `differences`
    pairs : how many pairs are compared; the smallest p must then be below alpha / pairs (Holm's first step)

    The power is that of the paired t-test, which the permutation test shares; at least as many actors as p needs to be
    able to fall below alpha. Raises InputError for a difference of 0 or a deviation that is not above 0.
    """
    _check_power(deviation, alpha, power, pairs)
    if not difference:
        raise InputError("difference is 0: no number of actors shows that; give points other than 0")
    effect = abs(difference) / deviation
    fewest = math.ceil(1 + math.log2(pairs / alpha))  # 2 / 2^n is the smallest p
    if not TTestPower().power(effect, fewest, alpha / pairs) < power:  # NaN where it is too near to 1
        return fewest
    return math.ceil(_solved(effect_size=effect, alpha=alpha / pairs, power=power))


def smallest_difference(
    actors: int, deviation: float, *, power: float = 0.8, alpha: float = 0.05, pairs: int = 1
) -> float:
    """The smallest true difference in points that so many actors show with probability `power`; as `actors_needed`.

    Infinite with so few actors that p cannot fall below alpha / pairs.
    """
    _check_power(deviation, alpha, power, pairs)
    if 2 / 2**actors > alpha / pairs:
        return math.inf
    return deviation * _solved(nobs=actors, alpha=alpha / pairs, power=power)


def _solved(**known: float) -> float:
    """The one of effect_size, nobs, alpha and power that is missing."""
    return float(np.squeeze(TTestPower().solve_power(**known)))  # statsmodels returns a number or an array of one


def _check_power(deviation: float, alpha: float, power: float, pairs: int) -> None:
    if not deviation > 0:
        raise InputError(f"deviation is {deviation:g}; give points above 0, as in column deviation of differences()")
    if not (0 < alpha < power < 1 and pairs >= 1):
        raise InputError(
            f"alpha {alpha:g}, power {power:g}, pairs {pairs}: it must be 0 < alpha < power < 1 and pairs >= 1"
        )


def _rows(table: pd.DataFrame, condition: str) -> pd.DataFrame:
    """The predictions of a condition; of M, those of the three that it is the mean of."""
    return table[table["condition"].isin(AVERAGED if condition == "M" else (condition,))]


def _tested(table: pd.DataFrame, conditions: Sequence[str]) -> list[str]:
    """Those of the conditions that a table has."""
    there = set(table["condition"])
    return [name for name in conditions if (set(AVERAGED) <= there if name == "M" else name in there)]


def _sums(table: pd.DataFrame, condition: str, measure: str) -> tuple[np.ndarray, Callable]:
    """What a measure adds up, by condition and actor (P, A, S), and its score; P is 3 for M, else 1."""
    columns, score = measures(table)[measure]
    parts = []
    for name in AVERAGED if condition == "M" else (condition,):
        rows = table[table["condition"] == name]
        times = rows.groupby("clip")["clip"].transform("size").to_numpy()[:, None]  # predictions of a clip
        parts.append(pd.DataFrame(columns(rows) / times).groupby(rows["actor"].to_numpy()).sum())
    actors = sorted(set().union(*(part.index for part in parts)))
    return np.stack([part.reindex(actors, fill_value=0.0) for part in parts]), score


def _value(score: Callable, sums: np.ndarray, index: np.ndarray) -> np.ndarray:
    """The measure (...) over the actors in `index` (..., A), of sums (P, A, S); the mean over the P conditions."""
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN where none of these actors has a clip
        return score(sums[:, index].sum(axis=-2)).mean(axis=0)


def actor_interval(
    statistic: Callable, actors: np.ndarray, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The interval (low, high) of a statistic, by a bootstrap of actors, widened for few as in `intervals`.

    statistic : (actors (..., A), axis=-1) -> (...), with actors drawn from `actors` (A,)
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
        found = bootstrap((actors,), statistic, **settings)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _check(systems: Systems, measure: str = "", conditions: Sequence[str] = ()) -> None:
    """Raises InputError where a table cannot be read as predictions, or knows neither the measure nor a condition."""
    if not systems:
        raise InputError("there is no system: give a dict of tables of predictions by name")
    for name, table in systems.items():
        for column in ("clip", "actor", "fold", "condition", "label"):
            if column not in table:
                raise InputError(
                    f"the table of {name} has no column {column}: give predictions as predict() makes them"
                )
        if measure and measure not in measures(table):
            raise InputError(f"measure is '{measure}'; {name} has {', '.join(measures(table))}")
        if (table.groupby(["condition", "clip"]).size().groupby("condition").nunique() > 1).any():
            raise InputError(f"in the table of {name} some clips stand more often than others: give each as often")
    lacking = [name for name in conditions if not any(_tested(table, [name]) for table in systems.values())]
    wrong = [name for name in lacking if name not in CONDITIONS] or (lacking if len(lacking) == len(conditions) else [])
    if wrong:
        there = dict.fromkeys(name for table in systems.values() for name in table["condition"])
        raise InputError(f"no system has condition '{wrong[0]}'; choose from {', '.join(there)}")


def _check_same_clips(first: str, second: str, one: pd.DataFrame, other: pd.DataFrame) -> None:
    one, other = (rows.drop_duplicates(["condition", "clip"]).set_index(["condition", "clip"]) for rows in (one, other))
    for name, rows, theirs in ((second, one, other), (first, other, one)):
        alone = rows[~rows.index.isin(theirs.index)]
        if len(alone):
            folds = " ".join(map(str, sorted(set(alone["fold"]))))
            raise InputError(
                f"{first} and {second} were tested on different clips: {name} lacks {len(alone)} predictions of fold "
                f"{folds}, such as {alone.index[0][1]} in {alone.index[0][0]}; run what is missing, or compare "
                f"common_clips(systems)"
            )
    if not one["label"].equals(other["label"].reindex(one.index)):
        raise InputError(
            f"{first} and {second} have other labels for the same clips: were they taught the same classes?"
        )
