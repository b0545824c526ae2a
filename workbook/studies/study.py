"""What all studies share: conditions in, one table of predictions, one table of results, one sentence.

A study asks networks about clips under a list of conditions. `predictions` makes the table of predictions, as
`evaluate.evaluation.predict` does, and keeps it in a file, so that no condition is tried twice. A study's `table` turns
predictions of several systems into results, and `sentence` says what they show. No study draws, or knows a folder.

A table of results has a row per system, condition and measure: system, condition, what the study varies (such as
modality and share), measure, value, low, high, actors, clips. low and high are a 95 % interval of actors, as in
`workbook.evaluate.statistics`. Values are in percent, or points of percent, unless the study says otherwise.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from workbook import InputError
from workbook.evaluate.conditions import Condition
from workbook.evaluate.evaluation import predict
from workbook.evaluate.metrics import Metric, metrics_of
from workbook.evaluate.statistics import Systems, actor_interval
from workbook.files import atomic_write
from workbook.train.batches import Clips
from workbook.train.descriptors import Describer


class Study(NamedTuple):
    """One question to networks: see `STUDIES`."""

    title: str  # the question, in a few words
    conditions: Callable[[Clips], list]  # what is tried on these clips
    table: Callable[[Systems, Sequence], pd.DataFrame]  # predictions by system, and the conditions -> results
    sentence: Callable[[pd.DataFrame], str]  # what the results show: a line for each system


def predictions(
    net: torch.nn.Module,
    clips: Clips,
    conditions: Sequence[Condition],
    *,
    fold: int,
    seed: int,
    path: Path | str | None = None,
    batch_size: int = 32,
) -> pd.DataFrame:
    """The table of `predict` for these conditions, in their order; frames are described once for all of them.

    path : of a .parquet file that keeps the table. It is written after each condition, and a later call tries only
        those that it lacks. Conditions count as the same if their repr is, so write yours as dataclasses. The file
        starts over with another network, other clips, another seed or fold.
    Raises InputError where two conditions have the same name, and for a damaged file.
    """
    wanted = {condition.name: repr(condition) for condition in conditions}
    if len(wanted) < len(conditions):
        raise InputError("two conditions have the same name: a name has to tell them apart")
    made_of, path = fingerprint(net, clips, seed, fold), Path(path) if path else None
    table, done = _kept(path, made_of, wanted) if path and path.exists() else (pd.DataFrame(), {})
    missing, describer = [one for one in conditions if one.name not in done], Describer(net, clips)
    for one in missing:
        found = predict(net, clips, [one], fold=fold, seed=seed, batch_size=batch_size, describer=describer)
        table = pd.concat([table, found], ignore_index=True) if len(table) else found
        done |= {one.name: repr(one)}
        if path:
            table.attrs = {"made of": made_of, "conditions": done}
            with atomic_write(path) as temporary:
                table.to_parquet(temporary, index=False)
    order = {name: place for place, name in enumerate(wanted)}
    table = table[table["condition"].isin(order)]
    return table.sort_values("condition", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def _kept(path: Path, made_of: str, wanted: dict[str, str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """What the file at `path` has of use: predictions, and the conditions that these are of, name -> repr."""
    try:
        table = pd.read_parquet(path)
    except Exception as error:  # torn files can fail in any way
        raise InputError(f"{path} is damaged ({str(error).splitlines()[0]}): delete it") from None
    same = table.attrs.get("made of") == made_of
    done = {name: text for name, text in table.attrs.get("conditions", {}).items() if same}
    done = {name: text for name, text in done.items() if wanted.get(name, text) == text}
    return table[table["condition"].isin(done)], done


def fingerprint(net: torch.nn.Module, clips: Clips, seed: int, fold: int) -> str:
    """Twelve hex digits that change with the weights, the store, the clips, the seed and the fold."""
    digest = hashlib.sha256(repr((clips.store.fingerprint, list(clips.table["clip"]), seed, fold)).encode())
    for name, weight in sorted(net.state_dict().items()):
        digest.update(name.encode() + weight.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def estimate(rows: pd.DataFrame, measure: Metric) -> dict[str, float]:
    """value, low and high of a measure of these rows, and the numbers of actors and clips.

    rows : columns clip, actor, and what the measure reads
    """
    sums = pd.DataFrame(np.asarray(measure.columns(rows), float)).groupby(rows["actor"].to_numpy()).sum().to_numpy()
    everyone = np.arange(len(sums))

    def value(index: np.ndarray, axis: int = -1) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):  # NaN where none of these actors counts
            return measure.score(sums[index].sum(axis=-2))

    low, high = actor_interval(value, everyone)
    size = {"actors": len(sums), "clips": rows["clip"].nunique()}
    return {"value": float(value(everyone)), "low": low, "high": high} | size


def results(
    systems: Systems, conditions: Sequence[Condition], wanted: dict[str, Metric] | None = None, **columns: Any
) -> Iterator[dict[str, Any]]:
    """A row of results per system, condition and measure; a condition that a system lacks has none.

    wanted : measures by name, by default accuracy      columns : beside those that tell the rows apart
    """
    for system, table in systems.items():
        for condition in conditions:
            rows = table[table["condition"] == condition.name]
            for name, measure in (wanted or {"accuracy": accuracy(table)}).items() if len(rows) else ():
                about = {"system": system, "condition": condition.name, **columns, "measure": name}
                yield about | estimate(rows, measure)


def accuracy(table: pd.DataFrame) -> Metric:
    """The measure accuracy in percent; of sentiment that of the sign."""
    return metrics_of(table)["accuracy"]


def mean_of(column: str, scale: float = 1.0) -> Metric:
    """The measure that is the mean over clips of a column, times a scale; NaN does not count."""

    def columns(rows: pd.DataFrame) -> np.ndarray:
        values = rows[column].to_numpy(float)
        return np.column_stack([np.nan_to_num(values), np.isfinite(values)])

    return Metric(columns, lambda sums: scale * sums[..., 0] / sums[..., 1])


def probabilities(table: pd.DataFrame) -> np.ndarray:
    """The probabilities (N, classes) of a table of predictions. Raises InputError where it has none."""
    found = table.filter(regex=r"^p\d+$").to_numpy(float)
    if not found.shape[1]:
        raise InputError("this study asks for probabilities of classes, and sentiment has none")
    return found


def per_clip(table: pd.DataFrame, values: np.ndarray) -> pd.DataFrame:
    """A row per clip: clip, actor, label, and the value in each condition; of several seeds the mean.

    values : (N,) of the rows of a table of predictions
    """
    wide = table.assign(value=values).pivot_table("value", ["clip", "actor", "label"], "condition", "mean")
    return wide.rename_axis(columns=None).reset_index()


def right(table: pd.DataFrame) -> np.ndarray:
    """Whether each answer is right, 1 or 0 (N,); NaN where it does not count, as a sentiment of 0."""
    found, counted = accuracy(table).columns(table).T
    return np.where(counted > 0, found, np.nan)


def of(table: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """The rows in which these columns have these values."""
    for name, value in values.items():
        table = table[table[name] == value]
    return table


def joined(words: Sequence[str]) -> str:
    """A list in words: `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), *words[-1:]] if len(words) > 1 else words)
