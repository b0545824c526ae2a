"""The report: sections that never mix, and the notebook."""

import re
from types import SimpleNamespace

import mistune
import numpy as np
import pandas as pd
import papermill
import pytest
from bs4 import BeautifulSoup
from click.testing import CliRunner
from drawn_predictions import predictions
from in_process import without_kernels
from IPython.display import HTML, Markdown
from pandas.io.formats.style import Styler
from scipy.io import wavfile
from sweeps import finished_run

from workbook import ROOT, InputError
from workbook.cli import main
from workbook.data.features import read_npz
from workbook.data.ravdess import EMOTIONS
from workbook.evaluate.classifiers import NAMES
from workbook.run import report as report_module
from workbook.run.record import note
from workbook.run.report import Report, section_baselines, sections


def evaluated(root, table, **values):
    """The folder of an evaluated run with these predictions. Other audio features have a store of their own."""
    folder = finished_run(root, {"AV": 50.0}, **values)
    labels = {"labels": list(EMOTIONS)} if values.get("dataset") == "features" else {}
    note(folder, fingerprint=values.get("audio_features", "abcd"), **labels)
    table.to_parquet(folder / "predictions.parquet")
    return folder


@pytest.fixture
def corpora(tmp_path):
    """Parameters of three kinds of data: RAVDESS, features of its folds, toys."""
    (tmp_path / "ravdess").mkdir()
    (tmp_path / "units.npz").touch()
    ravdess = {"dataset": "ravdess", "data_root": str(tmp_path / "ravdess")}
    units = {"dataset": "features", "data_root": str(tmp_path / "units.npz"), "fold_scheme": "paper"}
    return {"ravdess": ravdess, "units": units, "toy": {"dataset": "toy"}}


def test_real_data_features_and_toys_stand_in_sections_of_their_own(corpora, tmp_path):
    root = tmp_path / "outputs"
    for values in corpora.values():
        evaluated(root, predictions((1, 0.5, 0.5)), dropout="none", **values)
    evaluated(root, predictions((1, 0.5, 0.5)), dropout="none", epochs=7, **corpora["ravdess"])
    found = sections(root)
    ravdess = ("real", "ravdess", "ravdess")
    others = [("real", "features", "ravdess"), ("toy", "toy", "")]
    assert [(s.origin, s.dataset, s.paper) for s in found] == [ravdess, ravdess, *others]
    assert sorted(s.settings for s in found if s.dataset == "ravdess") == ["", "epochs7"]
    assert found[2].heading == "REAL DATA: features in units.npz (not the paper's input)"
    assert len({s.name for s in found}) == 4 and all("/" not in s.name for s in found)
    papers = [section.tables()["II"]["paper"].notna().sum() for section in found]
    assert papers == [9 * 3 * 4] * 3 + [0], "the paper's numbers stand beside real data alone"


def test_features_with_other_labels_or_folds_have_no_paper_beside_them(corpora, tmp_path):
    groups = corpora["units"] | {"fold_scheme": "groups"}
    evaluated(tmp_path / "outputs", predictions((1, 1, 1)), dropout="none", **groups)
    folder = evaluated(tmp_path / "outputs", predictions((1, 1, 1)), dropout="softhard", **corpora["units"])
    record = folder / "run.json"
    record.write_text(record.read_text().replace('"calm"', '"bored"'))
    assert [section.paper for section in sections(tmp_path / "outputs")] == ["", ""]


def test_folds_are_pooled_with_as_many_seeds_of_each(corpora, tmp_path):
    root = tmp_path / "outputs"
    for fold, seed in ((0, 1), (0, 2), (3, 1)):
        evaluated(root, predictions((1, 1, 1), (fold,)), dropout="none", fold=fold, seed=seed, **corpora["toy"])
    (section,) = sections(root)
    (table,) = section.systems.values()
    assert len(section.runs) == 3 and len(table) == 2 * 4 * 8 * 3
    (cell, *_) = section.tables()["II"].query("condition == 'AV'").itertuples()
    assert (cell.folds, cell.actors, cell.clips, cell.value) == (2, 8, 64, 100)


def test_no_run_and_a_lost_file_are_one_sentence_each(corpora, tmp_path):
    with pytest.raises(InputError, match=r"no evaluated run under .*: `avlib run params/demo.yaml` makes some"):
        sections(tmp_path)
    folder = evaluated(tmp_path, predictions((1, 1, 1)), dropout="none", **corpora["toy"])
    (folder / "predictions.parquet").write_bytes(b"lost")
    with pytest.raises(InputError, match=r"predictions\.parquet is missing or damaged: evaluate.ipynb makes it"):
        sections(tmp_path)
    ended = CliRunner().invoke(main, ["report", str(tmp_path / "nothing")])
    assert ended.exit_code == 2 and "no evaluated run" in ended.output and not (tmp_path / "nothing").exists()


def of_page():
    """The pieces of Python of docs/paper_tables.md: the report's, and the script that makes features of RAVDESS."""
    page = (ROOT / "docs" / "paper_tables.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)


def test_the_report_from_python_runs_as_the_page_has_it(corpora, tmp_path, capsys):
    evaluated(tmp_path / "outputs", predictions((1, 0.5, 0.5)), dropout="none", **corpora["units"])
    evaluated(tmp_path / "outputs", predictions((1, 0.9, 0.5)), dropout="softhard", **corpora["units"])
    outputs = f"from pathlib import Path; OUTPUTS = Path('{tmp_path}/outputs')"
    exec(of_page()[0].replace("from workbook import OUTPUTS", outputs), {})
    printed = capsys.readouterr().out
    assert "REAL DATA: features in units.npz" in printed and "**softhard saves A and V**" in printed


def test_the_script_of_the_page_makes_features_that_a_run_reads(tmp_path, monkeypatch):
    (tmp_path / "openface").mkdir()
    (tmp_path / "ravdess").mkdir()
    names = [f" AU{unit:02d}_{kind}" for kind, many in (("r", 17), ("c", 18)) for unit in range(many)]
    for actor in (5, 6, 7):
        trial = f"01-{actor - 2:02d}-01-01-01-{actor:02d}"
        sound = np.random.default_rng(actor).integers(-9999, 9999, 4 * 22050, dtype=np.int16)
        wavfile.write(tmp_path / f"ravdess/03-{trial}.wav", 22050, sound)
        units = pd.DataFrame(np.arange(70.0).reshape(2, 35), columns=names)  # OpenFace has a space there
        units.assign(success=[1, 0]).to_csv(tmp_path / f"openface/01-{trial}.csv", index=False)
    monkeypatch.chdir(tmp_path)
    script = of_page()[1].replace('"data/ravdess"', f'"{tmp_path}/ravdess"')
    exec(script.replace("preprocess()", "preprocess(workers=1)"), {"__name__": "__main__"})
    features = read_npz(tmp_path / "ravdess_units.npz")
    assert features.audio.shape == (3, 10, 39) and features.video.shape == (3, 1, 35)
    assert features.video[0, 0].tolist() == list(range(35))  # the frame without a face is left out
    assert features.clips["actor"].tolist() == [5, 6, 7] and features.names == ["angry", "happy", "sad"]


def test_the_notebook_reports_on_all_kinds_of_runs_and_leaves_their_files(corpora, tmp_path):
    root = tmp_path / "outputs"
    for fold in (0, 1):
        for dropout, rights in (("none", (0.8, 0.2, 0.2)), ("softhard", (0.8, 0.6, 0.6)), ("sampled", (0.8, 0.5, 0.5))):
            given = {"dropout": dropout, "fold": fold}
            evaluated(root, predictions(rights, (fold,), fold), **given, **corpora["units"])
        late = {"fusion": "lt", "dropout": "softhard", "fold": fold}
        evaluated(root, predictions((0.7, 0.5, 0.5), (fold,)), **late, **corpora["units"])
        for features in ("mfcc", "chroma"):
            alone = {"fusion": "audio", "dropout": "none", "audio_features": features, "fold": fold}
            evaluated(root, predictions((0.6, 0.6), (fold,), conditions=("AV", "A")), **alone, **corpora["ravdess"])
    evaluated(root, predictions((1, 0.5, 0.5)), dropout="none", **corpora["toy"])
    with without_kernels():
        given = {"outputs_root": str(root), "resamples": 99}
        papermill.execute_notebook(ROOT / "notebooks/report.ipynb", None, given, progress_bar=False)
    files = {path.name for path in root.glob("report/features-*/*")}
    assert files >= {"table-II.csv", "table-II-accuracy.md", "table-II-accuracy.tex", "slopes-II.png", "heatmap-II.png"}
    assert files >= {"pairs.csv", "pairs.png", "claims.csv", "claims.md"}
    assert len(list(root.glob("report/ravdess-*/heatmap-II.png"))) == 1
    assert "softhard saves A and V" in next(root.glob("report/features-*/claims.md")).read_text()
    assert "audio less audio chroma in A" in next(root.glob("report/ravdess-*/claims.md")).read_text()
    toys = next(root.glob("report/toy-*/table-II.csv"))
    assert pd.read_csv(toys)["paper"].isna().all()


HOSTILE = "<img src=x onerror=alert(1)> $\\frac$ & #1_% [a](javascript:b) *c* {d}"


def test_the_name_of_a_file_is_text_wherever_the_report_has_it(corpora, tmp_path, monkeypatch):
    monkeypatch.setattr("workbook.run.report.section_baselines", lambda *_: {})
    (tmp_path / f"{HOSTILE}.npz").touch()
    units = corpora["units"] | {"data_root": str(tmp_path / f"{HOSTILE}.npz")}
    for dropout, rights in (("none", (0.8, 0.2, 0.2)), ("softhard", (0.8, 0.6, 0.6))):
        evaluated(tmp_path / "outputs", predictions(rights), dropout=dropout, **units)
    log = tmp_path / "outputs" / "toy" / "lt1" / "fold0-seed1" / "run.log"
    log.parent.mkdir(parents=True), log.write_text(HOSTILE)
    report = Report(tmp_path / "outputs", resamples=50)
    cells = [report.overview, report.tables, report.heatmaps, report.slopes, report.claims]
    shown = [display for cell in cells for display in cell()] + [*report.differences("AV")]
    pages = [mistune.html(display.data) for display in shown if isinstance(display, Markdown)]
    pages += [display.data for display in shown if isinstance(display, HTML)]
    pages += [display.to_html() for display in shown if isinstance(display, Styler)]
    texts = [BeautifulSoup(page, "html.parser") for page in pages]
    assert sum(HOSTILE in text.get_text() for text in texts) >= 3
    assert not any(text.find_all(["img", "a", "em"]) for text in texts)
    report.write()
    (folder,) = {path.parent for path in tmp_path.glob("outputs/report/*/*")}
    for path in folder.glob("*.md"):
        page = BeautifulSoup(mistune.html(path.read_text()), "html.parser")
        assert HOSTILE in page.get_text() and not page.find_all(["img", "a"])
    for path in folder.glob("*.tex"):
        caption = re.search(r"caption{(.*)}", path.read_text())[1]
        assert r"\$\textbackslash{}frac\$ \& \#1\_\% [a](javascript:b) *c* \{d\}" in caption


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

    monkeypatch.setattr(report_module, "predict_without_network", fit)
    monkeypatch.setattr(report_module, "open_trained", reopen)
    return folds


def test_each_fold_of_a_section_is_fitted_once_and_kept(corpora, fitted, tmp_path, caplog):
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
        pd.testing.assert_frame_equal(*(one.reset_index(drop=True) for one in (table, again[name])), check_dtype=False)
    cells = part.tables(found)["II"].query("system == 'SVM' and condition == 'AV'")
    assert cells["value"].tolist() == [100.0] and cells["folds"].tolist() == [2]
