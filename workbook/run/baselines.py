"""Baselines without a network beside the runs of a report's section, on the same store and folds."""

import logging
from pathlib import Path

import pandas as pd

from workbook import InputError
from workbook.data.datasets import DATASETS
from workbook.evaluate.classifiers import predict_without_network
from workbook.evaluate.paper_tables import Systems
from workbook.files import write_table
from workbook.run.reopen import open_trained
from workbook.run.report import Section

log = logging.getLogger(__name__)


def section_baselines(part: Section, file: Path) -> Systems:
    """The predictions of each baseline on the folds of a section's runs, as systems without modality dropout.

    file : where they are kept; a later call computes only the folds that it lacks
    Empty for films, of which there are no statistics. Logs which folds are left out: their data are gone or changed.
    """
    runs = part.runs[part.runs["fusion"] != "audio"].drop_duplicates("fold")
    if DATASETS[part.dataset].kind != "features" or runs.empty:
        return {}
    table = pd.read_parquet(file) if file.exists() else pd.DataFrame({"system": [], "fold": []})
    for row in runs[~runs["fold"].isin(table["fold"])].itertuples():
        try:
            run = open_trained(row.folder)
            own = predict_without_network(run.train, run.validation, run.test, fold=run.parameters.fold)
        except InputError as error:
            log.info("fold %d of %s has no rows without a network: %s", row.fold, part.name, error)
        else:
            new = [each.assign(system=name) for name, each in own.items()]
            table = pd.concat([table, *new] if len(table) else new)
            write_table(file, table)
    table = table[table["fold"].isin(runs["fold"])]
    return {(name, "none"): rows.drop(columns="system") for name, rows in table.groupby("system")}
