"""Baselines without a network beside the runs of a section."""

from types import SimpleNamespace

import pandas as pd
import pytest
from drawn_predictions import predictions
from test_report import corpora, evaluated  # noqa: F401  a fixture

from workbook import InputError
from workbook.evaluate.classifiers import NAMES
from workbook.run import baselines
from workbook.run.baselines import section_baselines
from workbook.run.report import sections

ACCURACIES = {"AV": 1.0, "A": 0.5, "V": 0.25}


@pytest.fixture
def fitted(monkeypatch):
    """The folds that were fitted, each once; predictions of right answers in the shares of ACCURACIES."""
    folds = []

    def fit(*splits, fold):
        folds.append(fold)
        return {name: predictions(ACCURACIES.values(), folds=(fold,)) for name in NAMES}

    def reopen(folder):
        if "fold2" in str(folder):
            raise InputError("its data are gone")
        fold = int(str(folder).rpartition("fold")[2][0])
        return SimpleNamespace(train=0, validation=0, test=0, parameters=SimpleNamespace(fold=fold))

    monkeypatch.setattr(baselines, "predict_without_network", fit)
    monkeypatch.setattr(baselines, "open_trained", reopen)
    return folds


def test_each_fold_of_a_section_is_fitted_once_and_kept(corpora, fitted, tmp_path, caplog):  # noqa: F811
    caplog.set_level("INFO")
    for fold in (0, 1, 2):
        for fusion in ("ia", "lt"):
            table = predictions((1, 0.5, 0.5), folds=(fold,))
            evaluated(tmp_path / "runs", table, fusion=fusion, dropout="none", fold=fold, **corpora["units"])
    (part,), file = sections(tmp_path / "runs"), tmp_path / "baselines.parquet"
    found = section_baselines(part, file)
    assert set(found) == {(name, "none") for name in NAMES} and fitted == [0, 1]
    assert all(set(table["fold"]) == {0, 1} for table in found.values())
    assert f"fold 2 of {part.name} has no rows without a network: its data are gone" in caplog.messages
    again = section_baselines(part, file)
    assert fitted == [0, 1]
    for name, table in found.items():
        pd.testing.assert_frame_equal(
            table.reset_index(drop=True), again[name].reset_index(drop=True), check_dtype=False
        )
    cells = part.tables(found)["II"].query("system == 'SVM' and condition == 'AV'")
    assert cells["value"].tolist() == [100.0] and cells["folds"].tolist() == [2]


def test_films_have_no_baseline(corpora, fitted, tmp_path):  # noqa: F811
    evaluated(tmp_path / "runs", predictions((1, 0.5, 0.5)), dropout="none", **corpora["toy"])
    (part,) = sections(tmp_path / "runs")
    assert section_baselines(part, tmp_path / "none.parquet") == {} and not fitted
