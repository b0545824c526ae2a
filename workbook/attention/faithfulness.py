"""Faithfulness: does the answer depend on the steps that an order of importance puts first?

Steps of one modality are replaced by a baseline, most important first ("delete"), or put back into the baseline, most
important first ("insert"), while the other modality stays as it is. The score is the probability of the answer that the
network gave to the whole clip. If an order is faithful, the score falls soon in deletion and rises soon in insertion.

Four choices keep the comparison fair. All orders rank the same segments of equal length: single steps deleted here and
there harm a convolution more than the same number in a row. Ties are broken at random, so that even scores are a random
order. Random orders are averaged over several draws, and `random_areas` says how far a single one may reach. Frames are
described once, and their descriptors are deleted.

Sources: Petsiuk et al., RISE (BMVC 2018), for deletion and insertion; Samek et al., IEEE TNNLS 2017, for the area.
"""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import kendalltau, spearmanr

from workbook import InputError
from workbook.attention.importance import Importance, Material
from workbook.attention.truth import shares, summary
from workbook.evaluate.statistics import actor_interval
from workbook.train.memory import memory_kept

RANDOM = "random"


def places(importance: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The place (N, S) of every segment in the order, 0 = most important; ties are broken at random."""
    largest = np.abs(importance).max(axis=1, keepdims=True)
    importance = np.round(importance / np.where(largest > 0, largest, 1), 5)
    order = np.lexsort((generator.random(importance.shape), -importance), axis=-1)
    return order.argsort(axis=-1)


@memory_kept()
def curves(material: Material, orders: dict[str, Importance], draws: int = 3, seed: int = 0) -> pd.DataFrame:
    """Deletion and insertion in each order and in random order, one row per clip, modality, order, curve and share.

    orders : by name, such as {"attention": by_attention(material)}
    Columns: clip, actor, modality, order, curve (delete | insert), share of the segments deleted or inserted (0 to 1),
    score and kept as in `Material.score`; of random order their means over the draws.
    A random order inserts what its reverse deletes, so the same draws give both of its curves.
    Raises InputError where no modality has a second segment.
    """
    if not material.ordered:
        raise InputError("every modality has one segment: there is nothing to order")
    rng, tables = np.random.default_rng(seed), []
    for name in material.ordered:
        N, S = len(material.answers), material.segments[name].max() + 1
        drawn = [places(np.zeros((N, S)), rng) for _ in range(draws)]
        deleted = np.mean([_levels(material, name, place, "delete") for place in drawn], axis=0)
        found = {(RANDOM, "delete"): deleted, (RANDOM, "insert"): deleted[:, ::-1]}
        for order in (order for order in orders if name in orders[order]):
            place = places(orders[order][name], rng)
            found |= {(order, curve): _levels(material, name, place, curve) for curve in ("delete", "insert")}
        tables += [_long(material, name, *key, levels) for key, levels in found.items()]
    return pd.concat(tables, ignore_index=True)


def _levels(material: Material, name: str, place: np.ndarray, curve: str) -> np.ndarray:
    """(2, S + 1, N) score and kept answers, with 0 to S segments deleted or inserted."""
    levels = range(place.shape[1] + 1)
    kept = [place >= level if curve == "delete" else place < level for level in levels]
    return np.stack([material.score(material.without(name, each)) for each in kept], axis=1).astype(float)


def _long(material: Material, name: str, order: str, curve: str, levels: np.ndarray) -> pd.DataFrame:
    _, count, N = levels.shape
    about = material.clips.table[["clip", "actor"]]
    rows = pd.concat([about] * count, ignore_index=True).assign(modality=name, order=order, curve=curve)
    share = np.repeat(np.linspace(0, 1, count), N)
    return rows.assign(share=share, score=levels[0].ravel(), kept=levels[1].ravel())


def interval(values: np.ndarray, actors: np.ndarray) -> dict[str, float]:
    """Mean, low and high: the mean over actors of their mean value, and its 95 % interval as `actor_interval` has it.

    Values that are NaN do not count. With one actor there is no interval: low and high are NaN.
    """
    means = pd.Series(np.asarray(values, dtype=float)).groupby(np.asarray(actors)).mean().dropna().to_numpy()
    low, high = actor_interval(np.mean, means)
    return {"mean": means.mean() if len(means) else np.nan, "low": low, "high": high}


def areas(table: pd.DataFrame) -> pd.DataFrame:
    """The areas under the curves, one row per clip, modality and order: delete, insert, and between.

    An area is the mean score along the curve. between = insert - delete: how much more the segments that the order puts
    first say than those that it puts last. It is 0 for random order.
    """
    keys = ["clip", "actor", "modality", "order"]
    rows = table.sort_values("share").groupby([*keys, "curve"], sort=False)[["share", "score"]]
    found = rows.apply(lambda curve: np.trapezoid(curve["score"], curve["share"])).unstack("curve").reset_index()
    found = found.assign(between=found["insert"] - found["delete"]).rename_axis(columns=None)
    order = list(dict.fromkeys(table["order"]))
    return found.sort_values("order", key=lambda names: names.map(order.index), kind="stable", ignore_index=True)


@memory_kept()
def random_areas(material: Material, draws: int = 3, seed: int = 0) -> pd.DataFrame:
    """How far from 0 the area between of a single random order may lie: modality, low and high, 95 % of such orders.

    The area is the mean over actors, as in `area_summary`. An order and its reverse have opposite areas, so its mean
    is 0. Clips are ordered independently, so the variance of the mean is the sum of theirs, each from `draws` orders.
    Unlike an interval over actors, it says what luck alone makes of these clips.
    """
    rng, rows = np.random.default_rng(seed), []
    actors = material.clips.table["actor"]
    weights = 1 / (actors.nunique() * actors.map(actors.value_counts())).to_numpy()  # (N,) of the mean over actors
    for name in material.ordered:
        N, S = len(actors), material.segments[name].max() + 1
        drawn = [places(np.zeros((N, S)), rng) for _ in range(draws)]
        sides = [[_levels(material, name, place, "delete")[0] for place in (one, S - 1 - one)] for one in drawn]
        between = [np.trapezoid(reverse - own, dx=1 / S, axis=0) for own, reverse in sides]  # draws of (N,)
        reach = 1.96 * np.sqrt((weights**2 * np.mean(np.square(between), axis=0)).sum())
        rows.append({"modality": name, "low": -reach, "high": reach})
    return pd.DataFrame(rows)


def area_summary(per_clip: pd.DataFrame, random: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row per modality and order: delete and insert, their means; between, with low and high as in `interval`.

    random : as `random_areas`; its low and high take the place of those of random order, whose means over draws are 0
    """
    rows, known = [], {} if random is None else random.set_index("modality")[["low", "high"]].to_dict("index")
    for (modality, order), every in per_clip.groupby(["modality", "order"], sort=False):
        between = interval(every["between"], every["actor"]) | (known.get(modality, {}) if order == RANDOM else {})
        means = {name: interval(every[name], every["actor"])["mean"] for name in ("delete", "insert")}
        rows.append({"modality": modality, "order": order, **means, "between": between.pop("mean"), **between})
    return pd.DataFrame(rows)


def table_of_runs(saved: dict[str, dict]) -> pd.DataFrame:
    """The table of docs/attention.md, a row per run: how faithful attention is, beside the best other order and luck.

    saved : by the name of the run what `faithfulness.ipynb` saved as faithfulness.json
    Columns: run, data, fusion; for each modality attention, the best other order, and the reach of a random one; the
    answers (%) that change with even attention and with another clip's, and how many are right before and with it.
    """
    rows = []
    for run, read in saved.items():
        row = {"run": run, "data": read["dataset"], "fusion": read["fusion"]}
        for name, orders in pd.DataFrame(read["areas"]).set_index("order").groupby("modality", sort=False):
            others = orders["between"].drop(["attention", RANDOM], errors="ignore")
            row[f"{name}: attention"] = _with_interval(orders.loc["attention"]) if "attention" in orders.index else ""
            row[f"{name}: best other"] = f"{others.max():.2f} ({others.idxmax()})" if len(others) else ""
            reach = orders["high"].get(RANDOM) or np.nan
            row[f"{name}: random"] = f"± {reach:.2f}" if np.isfinite(reach) else ""
        changed = pd.DataFrame(read["changed"]).set_index("change")
        even = changed.loc["attention even"]
        row["changed by even"] = f"{100 * even['changed']:.0f} %"
        row["by another clip's"] = f"{100 * changed.loc['attention of another clip', 'changed']:.0f} %"
        row["right"] = f"{100 * even['right_before']:.0f} → {100 * even['right']:.0f} %"
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def _with_interval(row: pd.Series) -> str:
    sure = f" ({row['low']:.2f} to {row['high']:.2f})" if pd.notna(row["low"]) else ""
    return (f"{row['between']:.2f}" + sure).replace("-", "−")


def differences(per_clip: pd.DataFrame, first: str = "attention") -> pd.DataFrame:
    """By how much the area between of `first` exceeds that of every other order: mean, low, high."""
    rows = []
    for modality, every in per_clip.groupby("modality", sort=False):
        wide = every.pivot(index=["clip", "actor"], columns="order", values="between")
        for other in wide.columns.drop(first) if first in wide else []:
            found = interval(wide[first] - wide[other], wide.index.get_level_values("actor"))
            rows.append({"modality": modality, "first": first, "other": other, **found})
    return pd.DataFrame(rows)


def verdict(areas: pd.DataFrame) -> str:
    """One sentence on the order of attention against a random one; areas : as `area_summary`."""
    said = []
    for modality, rows in areas.set_index("order").groupby("modality", sort=False):
        if "attention" not in rows.index:
            said.append(f"nothing attends to {modality}")
            continue
        own, others = rows.loc["attention"], rows.drop(index=["attention", RANDOM])
        sure = "" if np.isfinite(own.low) else " (one actor, so no interval)"
        than = "better than" if own.low > 0 else "worse than" if own.high < 0 else "not surely other than"
        said.append(
            f"on {modality} {than} a random one{sure}: area {own['between']:+.2f} ({own['low']:+.2f} to "
            f"{own['high']:+.2f}), where {others['between'].idxmax()} reaches {others['between'].max():+.2f}"
        )
    return f"The order of attention: {'; '.join(said)}."


def agreement(material: Material, orders: dict[str, Importance]) -> pd.DataFrame:
    """How alike two orders rank the segments of a clip: a row per modality and pair.

    Columns: modality, first, second; mean, low and high of Spearman's rank correlation, as in `interval`; kendall, the
    mean of Kendall's tau; clips, those that count. 1 = the same order, 0 = unrelated, -1 = reversed. A clip in which
    one of the two scores is even has no order and does not count.
    """
    rows = []
    for name in material.ordered:
        for first, second in combinations([order for order in orders if name in orders[order]], 2):
            found = correlations(orders[first][name], orders[second][name])
            kendall = [
                kendalltau(*pair).statistic if uneven(*pair) else np.nan
                for pair in zip(orders[first][name], orders[second][name], strict=True)
            ]
            mean = np.nanmean(kendall) if np.isfinite(kendall).any() else np.nan
            counted = {"kendall": mean, "clips": int(np.isfinite(found).sum())}
            rows.append(
                {"modality": name, "first": first, "second": second}
                | interval(found, material.clips.table["actor"])
                | counted
            )
    return pd.DataFrame(rows)


def uneven(*scores: np.ndarray) -> bool:
    """Whether each of the scores (S,) differs among its segments by more than rounding."""
    return all(np.ptp(score) > 1e-6 * np.abs(score).max() for score in scores)


def correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation (N,) of the scores of each clip, both (N, S); NaN where one is even."""
    pairs = zip(first, second, strict=True)
    return np.array([spearmanr(*pair).statistic if uneven(*pair) else np.nan for pair in pairs])


def cue_shares(
    material: Material, orders: dict[str, Importance], cues: pd.DataFrame, relative: str = "attention"
) -> pd.DataFrame:
    """The share of each score inside the true cue, a row per order and modality: `truth.summary`, with the order.

    A segment's score is divided among its steps. relative : the order whose scores are those of a single step already
    Scores below 0, which speak against the answer, count as 0. A clip without any score above 0 counts as even.
    """
    tables = []
    for order, importance in orders.items():
        vectors = {}
        for name in (name for name in material.ordered if name in importance):
            segments = material.segments[name]
            scores = importance[name] / (1 if order == relative else np.bincount(segments))
            positive = scores.clip(min=0)[:, segments]  # (N, T)
            vectors[name] = np.where(positive.sum(axis=1, keepdims=True) > 0, positive, 1.0)
        if vectors:
            found = summary(shares(material.clips.table, vectors, material.times, cues))
            tables.append(found.assign(order=order))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
