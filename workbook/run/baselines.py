"""Baselines without a network beside the runs of a report's section, on the same store and folds."""

from contextlib import suppress
from pathlib import Path

import pandas as pd

from workbook import InputError
from workbook.data.datasets import DATASETS
from workbook.evaluate.classifiers import predict_without_network
from workbook.evaluate.paper_tables import Systems
from workbook.files import write_table
from workbook.run.reopen import open_trained
from workbook.run.report import Section


def section_baselines(part: Section, file: Path) -> Systems:
    """The predictions of each baseline on the folds of a section's runs, as systems without modality dropout.

    file : where they are kept; a later call computes only the folds that it lacks
    Empty for films, of which there are no statistics, and where the data of the runs are gone.
    """
    runs = part.runs[part.runs["fusion"] != "audio"].drop_duplicates("fold")
    if DATASETS[part.dataset].kind != "features" or runs.empty:
        return {}
    table = pd.read_parquet(file) if file.exists() else pd.DataFrame({"system": [], "fold": []})
    for row in runs[~runs["fold"].isin(table["fold"])].itertuples():
        with suppress(InputError):  # the run or its data are gone
            run = open_trained(row.folder)
            own = predict_without_network(run.train, run.validation, run.test, fold=run.parameters.fold)
            new = [each.assign(system=name) for name, each in own.items()]
            table = pd.concat([table, *new] if len(table) else new)
            write_table(file, table)
    table = table[table["fold"].isin(runs["fold"])]
    return {(name, "none"): rows.drop(columns="system") for name, rows in table.groupby("system")}
