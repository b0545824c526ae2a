"""Faithfulness: does the answer depend on the steps that an order of importance puts first?

Steps of one modality are replaced by a baseline, most important first ("delete"), or put back into the baseline, most
important first ("insert"), while the other modality stays unchanged. The score is the probability of the answer that
the network gave to the unchanged clip. If an order is faithful, the score falls soon in deletion and rises soon in
insertion.

All orders rank the same segments of equal length: single steps deleted here and there harm a convolution more than the
same number in a row. Ties are broken at random, so that even scores are a random order. Random orders are averaged over
several draws, and `random_areas` says how far a single one may reach.

A segment may be a step longer than another. Its importance is, by order:

    attention             the mean over its steps, 1 = even: as a sum, even attention would put long segments first
    integrated gradients  the sum over its steps, since all of them are deleted: the sums add up to the whole change
    leave one out         the fall of the score when it is deleted

Sources: Petsiuk et al., RISE (BMVC 2018), for deletion and insertion; Samek et al., IEEE TNNLS 2017, for the area.
"""

import copy
import json
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from workbook import InputError
from workbook.attention.attribution import integrated_gradients
from workbook.attention.perturbation import (
    Importance,
    SegmentedClips,
    by_leaving_out,
    layers,
    levels,
    random_ranks,
    ranks,
    segment_clips,
    shuffle,
)
from workbook.attention.truth import shares, summary
from workbook.attention.vectors import relative_vectors, step_times
from workbook.evaluate.statistics import error_of_mean, student
from workbook.files import read_json
from workbook.train.descriptors import behind_frames
from workbook.train.memory import memory_kept

RANDOM = "random"
RECORD = "faithfulness.json"  # in the folder of a run


def orders(segmented: SegmentedClips) -> dict[str, Importance]:
    """The importance of each segment by attention, by integrated gradients, and by leaving it out."""
    return {
        "attention": by_attention(segmented),
        "integrated gradients": by_gradients(segmented),
        "leave one out": by_leaving_out(segmented),
    }


def by_attention(segmented: SegmentedClips) -> Importance:
    """The mean attention that each segment's steps receive, 1 = even; of one modality alone, if one attends.

    Attention with fewer steps than the input is read at the times of the input.
    """
    vectors = relative_vectors(segmented.forward(segmented.inputs)[1])
    times, importance = step_times(segmented.clips.store, vectors), {}
    for name, vector in vectors.items():
        at_inputs = np.stack([np.interp(segmented.times[name], times[name], row) for row in vector])
        importance[name] = segmented.means(name, at_inputs)
    return importance


def by_gradients(segmented: SegmentedClips, steps: int = 32) -> Importance:
    """The integrated gradients of the answer, summed over each segment's steps."""
    inputs = segmented.inputs["audio"], segmented.inputs["video"], segmented.target, segmented.baseline
    scores, sign = integrated_gradients(behind_frames(segmented.net), *inputs, steps=steps), segmented.sign.numpy()
    return {name: sign[:, None] * segmented.sums(name, getattr(scores, name)) for name in segmented.segments}


@memory_kept()
def curves(segmented: SegmentedClips, orders: dict[str, Importance], draws: int = 3) -> pd.DataFrame:
    """Deletion and insertion in each order and in random order, one row per clip, modality, order, curve and share.

    orders : by name, as `orders` returns
    Columns: clip, actor, modality, order, curve (delete | insert), share of the segments deleted or inserted (0 to 1),
    score and kept as in `SegmentedClips.score`; of random order their means over the draws.
    A random order inserts what its reverse deletes, so the same draws give both of its curves.
    Raises InputError where no modality has a second segment.
    """
    if not segmented.ordered:
        raise InputError("every modality has one segment: there is nothing to order")
    rng, tables, clips = np.random.default_rng(0), [], segmented.clips.table[["clip", "actor"]]
    for name in segmented.ordered:
        random = [levels(segmented, name, rank, "delete") for rank in random_ranks(segmented, name, draws, rng)]
        mean = np.mean(random, axis=0)
        values = {(RANDOM, "delete"): mean, (RANDOM, "insert"): mean[:, ::-1]}
        for order in (order for order in orders if name in orders[order]):
            rank = ranks(orders[order][name], rng)
            values |= {(order, curve): levels(segmented, name, rank, curve) for curve in ("delete", "insert")}
        for (order, curve), (scores, kept) in values.items():
            rows = clips.assign(modality=name, order=order, curve=curve)
            points = zip(np.linspace(0, 1, len(scores)), scores, kept, strict=True)
            tables += [rows.assign(share=share, score=score, kept=keeps) for share, score, keeps in points]
    return pd.concat(tables, ignore_index=True)


def areas(table: pd.DataFrame) -> pd.DataFrame:
    """The areas under the curves, one row per clip, modality and order: delete, insert, and between.

    An area is the mean score along the curve. between = insert - delete. It is 0 for random order.
    """
    keys = ["clip", "actor", "modality", "order"]
    rows = table.sort_values("share").groupby([*keys, "curve"], sort=False)[["share", "score"]]
    wide = rows.apply(lambda curve: np.trapezoid(curve["score"], curve["share"])).unstack("curve").reset_index()
    wide = wide.assign(between=wide["insert"] - wide["delete"]).rename_axis(columns=None)
    order = list(dict.fromkeys(table["order"]))
    return wide.sort_values("order", key=lambda names: names.map(order.index), kind="stable", ignore_index=True)


@memory_kept()
def random_areas(segmented: SegmentedClips, draws: int = 3) -> pd.DataFrame:
    """Between which areas 95 % of single random orders lie: a row per modality, columns modality, low and high.

    The area is the mean over actors, as in `area_summary`. An order and its reverse have opposite areas, so its mean
    is 0. Clips are ordered independently, so the variance of the mean is the sum of theirs, each from `draws` orders.
    """
    rng, rows = np.random.default_rng(0), []
    actors = segmented.clips.table["actor"]
    weights = 1 / (actors.nunique() * actors.map(actors.value_counts())).to_numpy()  # (N,) of the mean over actors
    for name in segmented.ordered:
        squares, last = [], segmented.segments[name].max()
        for rank in random_ranks(segmented, name, draws, rng):
            own, reverse = (levels(segmented, name, order, "delete")[0] for order in (rank, last - rank))  # (S + 1, N)
            squares.append(np.trapezoid(reverse - own, dx=1 / (last + 1), axis=0) ** 2)
        reach = 1.96 * np.sqrt((weights**2 * np.mean(squares, axis=0)).sum())
        rows.append({"modality": name, "low": -reach, "high": reach})
    return pd.DataFrame(rows)


def interval(values: np.ndarray, actors: np.ndarray) -> dict[str, float]:
    """Mean, low and high: the mean of the actors' mean values, and Student's 95 % interval of them.

    It holds other people, not other trainings: those need runs of several seeds. With one actor low and high are NaN.
    Values that are NaN do not count, nor do actors who have no other values.
    """
    means = pd.Series(np.asarray(values, dtype=float)).groupby(np.asarray(actors)).mean().dropna()
    low, high, _ = student(means.mean(), [error_of_mean(means)])
    return {"mean": means.mean(), "low": low, "high": high}


def area_summary(per_clip: pd.DataFrame, random: pd.DataFrame) -> pd.DataFrame:
    """One row per modality and order: delete and insert, their means; between, with low and high as in `interval`.

    random : as `random_areas`; its low and high take the place of those of random order, whose means over draws are 0
    """
    rows, reach = [], random.set_index("modality")[["low", "high"]].to_dict("index")
    for (modality, order), clips in per_clip.groupby(["modality", "order"], sort=False):
        between = interval(clips["between"], clips["actor"]) | (reach[modality] if order == RANDOM else {})
        means = clips.groupby("actor")[["delete", "insert"]].mean().mean()
        rows.append({"modality": modality, "order": order, **means, "between": between.pop("mean"), **between})
    return pd.DataFrame(rows)


def differences(per_clip: pd.DataFrame) -> pd.DataFrame:
    """By how much the area between of attention exceeds that of every other order: mean, low, high."""
    rows = []
    for modality, clips in per_clip.groupby("modality", sort=False):
        wide = clips.pivot(index=["clip", "actor"], columns="order", values="between")
        for other in wide.columns.drop("attention") if "attention" in wide else []:
            difference = interval(wide["attention"] - wide[other], wide.index.get_level_values("actor"))
            rows.append({"modality": modality, "first": "attention", "other": other, **difference})
    return pd.DataFrame(rows)


def order_sentence(areas: pd.DataFrame) -> str:
    """The order of attention against a random one, in Markdown; areas : as `area_summary`."""
    parts, unattended = [], []
    for modality, rows in areas.set_index("order").groupby("modality", sort=False):
        if "attention" not in rows.index:
            unattended.append(f" Nothing attends to {modality}.")
            continue
        own, others = rows.loc["attention"], rows["between"].drop(["attention", RANDOM])
        reach = f" ({own['low']:+.2f} to {own['high']:+.2f})" if np.isfinite(own["low"]) else " (one actor)"
        than = "better than" if own["low"] > 0 else "worse than" if own["high"] < 0 else "not surely other than"
        best = f"{others.idxmax()} reaches {others.max():+.2f}"
        parts.append(f"**{own['between']:+.2f}**{reach} on {modality}, {than} a random order, where {best}")
    area = "the area between the curves in the order of attention"
    return f"{'; '.join(parts)}: {area}. Another training may differ.{''.join(unattended)}"


def agreement(segmented: SegmentedClips, orders: dict[str, Importance]) -> pd.DataFrame:
    """How alike two orders rank the segments of a clip: a row per modality and pair.

    Columns: modality, first, second; mean, low and high of Spearman's rank correlation, as in `interval`; clips, the
    number that counts. 1 = the same order, 0 = unrelated, -1 = reversed. A clip in which one of the two scores is even
    has no order and does not count.
    """
    rows, actors = [], segmented.clips.table["actor"]
    for name in segmented.ordered:
        for first, second in combinations([order for order in orders if name in orders[order]], 2):
            by_clip = correlations(orders[first][name], orders[second][name])
            row = {"modality": name, "first": first, "second": second, **interval(by_clip, actors)}
            rows.append(row | {"clips": int(np.isfinite(by_clip).sum())})
    return pd.DataFrame(rows)


def correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation (N,) of the scores (N, S) of each clip; NaN where one is even but for rounding."""
    uneven = [np.ptp(scores, axis=1) > 1e-6 * np.abs(scores).max(axis=1) for scores in (first, second)]
    clips = zip(first, second, np.all(uneven, axis=0), strict=True)
    return np.array([spearmanr(*scores).statistic if has_order else np.nan for *scores, has_order in clips])


def agreement_sentence(table: pd.DataFrame) -> str:
    """Which two orders are most and least alike, in Markdown; table : as `agreement`."""
    parts = []
    for name, place in (("most", table["mean"].idxmax()), ("least", table["mean"].idxmin())):
        row = table.loc[place]
        parts.append(
            f"**{row['mean']:.2f}** for {row['first']} and {row['second']} on {row['modality']}, the {name} alike"
        )
    return f"{'; '.join(parts)}: mean ρ of two orders."


def cue_shares(segmented: SegmentedClips, orders: dict[str, Importance], truth: pd.DataFrame | None) -> pd.DataFrame:
    """The share of each score inside the true cue, a row per order and modality: `truth.summary`, with the order.

    Attention's scores are of single steps already; all others are divided among the steps of a segment.
    Scores below 0, which speak against the answer, count as 0. A clip without any score above 0 counts as even.
    truth : None, where it is not known, gives an empty table
    """
    tables = []
    for order, importance in orders.items():
        vectors = {}
        for name in (name for name in segmented.ordered if name in importance):
            segments = segmented.segments[name]
            scores = importance[name] / (1 if order == "attention" else np.bincount(segments))
            positive = scores.clip(min=0)[:, segments]  # (N, T)
            vectors[name] = np.where(positive.sum(axis=1, keepdims=True) > 0, positive, 1.0)
        tables.append(summary(shares(segmented.clips.table, vectors, segmented.times, truth)).assign(order=order))
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def cue_sentence(table: pd.DataFrame) -> str:
    """The lift of each order inside the true cue, in Markdown; table : as `cue_shares`."""
    if table.empty:
        return "Nobody knows the cues of these clips."
    parts = [f"**{row.lift:.2f}** by {row.order} on {row.modality}" for row in table.itertuples()]
    return f"{', '.join(parts)}: the lift inside the cue."


def cascade(segmented: SegmentedClips, draws: int = 2, steps: int = 8) -> pd.DataFrame:
    """Attention and integrated gradients of ever more shuffled networks against those of the trained one.

    The layers are shuffled one after the other, from the classifier down, and stay so: the cascading randomisation of
    Adebayo et al., "Sanity checks for saliency maps" (NeurIPS 2018).

    draws : how often all layers are shuffled      steps : of integrated gradients
    Columns: layer (the last one shuffled; "none" first), method (attention | integrated gradients), modality; mean, low
    and high of Spearman's rank correlation with the trained network's scores, as in `interval`.
    """

    def scores(segmented: SegmentedClips) -> dict[str, Importance]:
        return {"attention": by_attention(segmented), "integrated gradients": by_gradients(segmented, steps)}

    trained, generator = scores(segmented), torch.Generator().manual_seed(0)
    by_layer = defaultdict(list)
    for _ in range(draws):
        net = copy.deepcopy(segmented.net)
        for layer, weights in {"none": [], **layers(net)}.items():
            shuffle(weights, generator)
            shuffled = replace(segmented, net=net)
            if layer == "frame network":
                described = segment_clips(net, segmented.clips, segmented.baseline.name)
                shuffled = replace(shuffled, inputs=described.inputs, baseline=described.baseline)
            for method, importance in scores(shuffled).items():
                for name in (name for name in segmented.ordered if name in importance):
                    by_layer[layer, method, name].append(correlations(trained[method][name], importance[name]))
    rows, actors = [], segmented.clips.table["actor"]
    for (layer, method, name), values in by_layer.items():
        by_clip = pd.DataFrame(values).mean()  # over the draws that are not NaN
        rows.append({"layer": layer, "method": method, "modality": name, **interval(by_clip, actors)})
    return pd.DataFrame(rows)


def cascade_sentence(table: pd.DataFrame, below: float = 0.5) -> str:
    """At which layer each explanation stops being the trained network's, in Markdown; table : as `cascade`."""
    parts = []
    for (method, modality), rows in table.groupby(["method", "modality"], sort=False):
        low = rows["layer"][rows["mean"] < below]
        parts.append(f"**{f'at {low.iloc[0]}' if len(low) else 'nowhere'}** for {method} on {modality}")
    return f"{', '.join(parts)}: where ρ first falls below {below:g}, from the classifier down."


def change_summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row per change: changed, the share of other answers, with low and high; right_before and right, shares.

    table : as `perturbation.attention_changed`
    """
    rows = []
    for change, clips in table.groupby("change", sort=False):
        changed = interval(clips["changed"], clips["actor"])
        means = clips.groupby("actor")[["right_before", "right"]].mean().mean()
        low, high = np.clip([changed["low"], changed["high"]], 0, 1)
        rows.append({"change": change, "changed": changed["mean"], "low": low, "high": high, **means})
    return pd.DataFrame(rows)


def change_sentence(table: pd.DataFrame) -> str:
    """How many answers each change changes, and how many are right, in Markdown; table : as `change_summary`."""
    rows = table.itertuples()
    parts = [f"**{100 * row.changed:.0f} %** with {row.change} ({100 * row.right:.0f} % right)" for row in rows]
    return f"{', '.join(parts)}: answers that change; {100 * table['right_before'].iloc[0]:.0f} % were right before."


def as_records(tables: dict[str, pd.DataFrame]) -> dict[str, list[dict]]:
    """Tables as lists of rows, for a JSON file, without those that are empty; NaN is null."""
    return {name: json.loads(table.to_json(orient="records")) for name, table in tables.items() if len(table)}


def records_of_runs(folders: Iterable[Path], settings: dict) -> dict[str, dict]:
    """What `faithfulness.ipynb` saved in these run folders with these settings, by the end of the folder's name."""
    paths = [folder / RECORD for folder in folders]
    records = {path.parent: read_json(path) for path in paths}
    records = {folder: record for folder, record in records.items() if record.get("settings") == settings}
    shared = os.path.commonpath([folder.parents[1] for folder in records])
    return {folder.relative_to(shared).as_posix(): record for folder, record in records.items()}


def areas_of_runs(records: dict[str, dict]) -> pd.DataFrame:
    """The areas of several runs, `area_summary` with a column run; records : as `records_of_runs`."""
    return pd.concat([pd.DataFrame(record["areas"]).assign(run=run) for run, record in records.items()])


def table_of_runs(records: dict[str, dict]) -> pd.DataFrame:
    """The table of docs/attention.md: how faithful attention is, beside the best other order and luck.

    A row per system, the folder of its runs; its trainings are the runs of several folds and seeds.

    records : as `records_of_runs`
    Columns: system, trainings, data, fusion; for each modality attention, the best other order, and the reach of a
    random one; the answers (%) that change with even attention and with another clip's, and how many are right before
    and with it. All are means over the trainings. Brackets are the lowest and the highest of several trainings, and of
    a single one its interval of actors, which does not tell how another would be.
    """
    systems, rows = defaultdict(list), []
    for run, record in records.items():
        systems[run.rpartition("/")[0]].append(record)
    for system, own in systems.items():
        row = {"system": system, "trainings": len(own), "data": own[0]["dataset"], "fusion": own[0]["fusion"]}
        areas = pd.concat([pd.DataFrame(record["areas"]) for record in own])
        for name, orders in areas.set_index("order").groupby("modality", sort=False):
            means = orders.groupby("order", sort=False)[["between", "high"]].mean()
            others = means["between"].drop(["attention", RANDOM], errors="ignore")
            row[f"{name}: attention"] = _with_range(orders.loc[["attention"]]) if "attention" in orders.index else ""
            row[f"{name}: best other"] = f"{others.max():.2f} ({others.idxmax()})" if len(others) else ""
            reach = means["high"].get(RANDOM) or np.nan
            row[f"{name}: random"] = f"± {reach:.2f}" if np.isfinite(reach) else ""
        changed = pd.concat([pd.DataFrame(record["changed"]) for record in own]).groupby("change").mean()
        even = changed.loc["attention even"]
        row["changed by even"] = f"{100 * even['changed']:.0f} %"
        row["by another clip's"] = f"{100 * changed.loc['attention of another clip', 'changed']:.0f} %"
        row["right"] = f"{100 * even['right_before']:.0f} → {100 * even['right']:.0f} %"
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def _with_range(trainings: pd.DataFrame) -> str:
    """The mean area of one or more trainings, and how far it reaches."""
    areas = trainings["between"]
    low, high = (areas.min(), areas.max()) if len(areas) > 1 else trainings[["low", "high"]].iloc[0]
    reach = f" ({low:.2f} to {high:.2f})" if pd.notna(low) else ""
    return (f"{areas.mean():.2f}" + reach).replace("-", "−")
