"""Predictions of many conditions, kept in a file, so that none is computed twice."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from avlib.model import AudiovisualNet
from workbook import InputError
from workbook.evaluate.conditions import Condition
from workbook.evaluate.evaluation import predict
from workbook.files import write_table
from workbook.text import one_line
from workbook.train.batches import Clips
from workbook.train.descriptors import Describer, digest


def predictions(
    net: AudiovisualNet,
    clips: Clips,
    conditions: Sequence[Condition],
    *,
    fold: int,
    seed: int,
    path: Path | str | None = None,
) -> pd.DataFrame:
    """The table of `predict` for these conditions, in their order; frames are described once for all of them.

    path : of a .parquet file that keeps the table. It is written after each condition, and a later call computes only
        those that it lacks. Conditions are the same if their repr is, so write yours as dataclasses. The file starts
        over with another network, other clips, another seed or fold.
    Raises InputError where two conditions have the same name, and for a damaged file.
    """
    reprs = {condition.name: repr(condition) for condition in conditions}
    if len(reprs) < len(conditions):
        raise InputError("two conditions have the same name: a name has to tell them apart")
    source = digest(repr((clips.store.fingerprint, list(clips.table["clip"]), seed, fold)), net)
    path = Path(path) if path else None
    table, file_reprs = _read(path, source, reprs) if path and path.exists() else (pd.DataFrame(), {})
    describer = Describer(net, clips)
    for condition in conditions:
        if condition.name in file_reprs:
            continue
        rows = predict(net, clips, [condition], fold=fold, seed=seed, describer=describer)
        table = pd.concat([table, rows], ignore_index=True) if len(table) else rows
        file_reprs |= {condition.name: repr(condition)}
        if path:
            table.attrs = {"source": source, "conditions": file_reprs}
            write_table(path, table)
    return pd.concat([table[table["condition"] == name] for name in reprs], ignore_index=True)


def _read(path: Path, source: str, reprs: dict[str, str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """The kept predictions that still apply, and the reprs of their conditions by name."""
    try:
        table = pd.read_parquet(path)
    except Exception as error:  # torn files can fail in any way
        raise InputError(f"{path} is damaged ({one_line(error)[:200]}): delete it") from None
    file_reprs = table.attrs["conditions"] if table.attrs.get("source") == source else {}
    file_reprs = {name: text for name, text in file_reprs.items() if reprs.get(name, text) == text}
    return table[table["condition"].isin(file_reprs)], file_reprs
