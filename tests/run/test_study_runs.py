"""Studies of run folders, their figures, and degrade.ipynb."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import papermill
import pytest
import torch
from in_process import without_kernels
from smoke_runs import run_smoke

from workbook import ROOT, InputError, plots
from workbook.evaluate.conditions import Gone, Shift
from workbook.run import study_runs
from workbook.run.study_runs import draw_study, matching_runs, open_systems, run_study, with_temperatures
from workbook.studies import STUDIES, loss, surface
from workbook.train.batches import Clips


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folds of a system on features of one's own, and one fold of another system, trained for an epoch."""
    rng, outputs = np.random.default_rng(0), tmp_path_factory.mktemp("study_runs")
    labels, groups = np.tile(np.arange(3), 30), np.repeat(np.arange(10), 9)
    audio, video = rng.standard_normal((90, 5, 20)), rng.standard_normal((90, 4, 10))
    audio[:, 0] += labels[:, None]
    video[:, 1] -= labels[:, None]
    np.savez(outputs / "mine.npz", audio=audio, video=video, label=np.array(["a", "b", "c"])[labels], group=groups)
    given = {"dataset": "features", "data_root": str(outputs / "mine.npz"), "epochs": 1, "frames": 0, "image_size": 0}
    found = []
    with without_kernels():
        for dropout, fold in (("none", 0), ("none", 1), ("softhard", 0)):
            found.append(run_smoke(outputs / "mine.npz", outputs, ("train",), **given, dropout=dropout, fold=fold))
    return found


@pytest.fixture
def runs(folders):
    return open_systems(folders, device="cpu")


def test_runs_in_one_folder_are_folds_of_one_system_named_by_what_differs(folders, runs):
    assert {name: len(found) for name, found in runs.items()} == {"ia1 none": 2, "ia1 softhard": 1}
    ((name, matching),) = open_systems([folders[0].parent / "fold*-seed1"], device="cpu").items()
    assert name == folders[0].parent.name.replace("-", " ") and [run.folder for run in matching] == folders[:2]
    with pytest.raises(InputError, match="is no run: give the folder of a trained run, or a pattern"):
        open_systems([folders[0].parent / "fold7*"])


def test_the_name_of_a_folder_is_no_pattern(tmp_path):
    (tmp_path / "runs [1]").mkdir()
    (tmp_path / "runs [1]" / "run.json").touch()
    assert matching_runs([tmp_path / "runs [1]"]) == [tmp_path / "runs [1]"]


def test_runs_whose_clips_have_one_modality_are_refused_in_a_sentence(folders, monkeypatch):
    monkeypatch.setattr(Clips, "with_both", property(lambda clips: clips.where(clips.rows < 0)))
    with pytest.raises(InputError, match=r"no test clip of .* has both modalities: a study takes one of the two away"):
        open_systems(folders[:1], device="cpu")


def test_each_runs_folder_keeps_its_predictions_and_they_are_not_made_again(runs, monkeypatch):
    found = run_study(runs, "credit")
    for folds in runs.values():
        for run in folds:
            kept = pd.read_parquet(run.folder / "studies" / "credit.parquet")
            assert set(kept["fold"]) == {run.parameters.fold} and set(kept["clip"]) == set(run.test.table["clip"])
            assert json.loads((run.folder / "run.json").read_text())["seconds"]["studies"] >= 0
    monkeypatch.setattr(torch.nn.Module, "__call__", None)  # a network that is asked anything fails
    again = run_study(runs, "credit")
    pd.testing.assert_frame_equal(again.table, found.table)
    whole = found.systems["ia1 none"]
    assert set(whole["fold"]) == {0, 1} and again.sentence == found.sentence


def test_a_study_that_does_not_fit_the_data_says_why_and_draws_nothing(runs):
    found = run_study(runs, "surface")
    assert found.sentence == "Left out: this study changes pixels and waveforms, which features do not have."
    assert found.table.empty and draw_study(runs, found) is None


def test_each_network_of_a_fold_has_its_own_temperature(monkeypatch):
    """Two seeds of one fold: one network is as sure as it should be, the other too sure."""
    sure = {1: 0.75, 2: 0.99}

    def known(run, *_):
        table = pd.DataFrame({"p0": sure[run.parameters.seed], "p1": 1 - sure[run.parameters.seed]}, index=range(400))
        return table.assign(label=(table.index % 4 == 0).astype(int), fold=0, condition="AV")

    networks = [SimpleNamespace(parameters=SimpleNamespace(fold=0, seed=seed), validation=None) for seed in sure]
    given = {"mine": pd.concat([known(run).assign(seed=run.parameters.seed) for run in networks])}
    monkeypatch.setattr(study_runs, "_predictions", known)
    ((name, calibrated),) = with_temperatures({"mine": networks}, given).items()
    assert calibrated["p0"].to_numpy() == pytest.approx(0.75, abs=0.01), "both say what they know"
    assert name == f"mine, T {(1 + np.log(99) / np.log(3)) / 2:.2f}"
    monkeypatch.setattr(study_runs, "_predictions", lambda run, *_: known(run).assign(label=0))
    (name,) = with_temperatures({"mine": networks}, given)
    assert name == "mine, T 0.05 (a bound)"


def result(**columns):
    return {"condition": "", "low": np.nan, "high": np.nan, "actors": 4, "clips": 8} | columns


def test_the_curve_of_graded_loss_has_its_ring_where_the_other_modality_alone_is_better():
    about = {"system": "mine", "modality": "audio", "where": "end"}
    shares = {0: 90, 50: 30, 100: 50}
    points = [result(**about, share=share, measure="accuracy", value=value) for share, value in shares.items()]
    points.append(result(**about, share=np.nan, measure="better alone", value=25.0))
    (ax,) = plots.study_loss(pd.DataFrame(points)).axes
    curve, ring = ax.lines[0], ax.lines[-1]
    assert curve.get_ydata().tolist() == [90, 30, 50]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (25, 60)


def test_graded_loss_of_modalities_of_one_step_has_its_two_ends():
    about = {"system": "mine", "where": "end", "measure": "accuracy"}
    ends = [result(**about, modality=m, share=share, value=9) for m in ("audio", "video") for share in (0, 100)]
    assert [ax.lines[0].get_xdata().tolist() for ax in plots.study_loss(pd.DataFrame(ends)).axes] == [[0, 100]] * 2


def test_frames_in_the_surface_lie_around_the_cells_in_which_sound_leads():
    rows = []
    for snr, picture, value, ahead in (
        (np.inf, "AV", 90, -5),
        (0, "AV", 60, -9),
        (np.inf, "dark", 50, 20),
        (0, "dark", 20, 0),
    ):
        about = {"system": "mine", "sound": f"noise {snr}", "snr": snr, "picture": picture}
        rows += [result(**about, measure="accuracy", value=value), result(**about, measure="ahead", value=ahead)]
    (ax,) = plots.study_surface(pd.DataFrame(rows)).axes
    assert [text.get_text() for text in ax.texts] == ["90", "60", "50", "20"]
    (frame,) = ax.patches
    assert (frame.get_xy(), frame.get_width(), frame.get_height()) == ((0, 1), 1, 1)


@pytest.mark.parametrize("name", [name for name in STUDIES if name != "surface"])
def test_every_study_has_a_figure_that_is_saved(name, runs):
    few = (lambda clips: loss.conditions(clips, levels=2)) if name == "loss" else None
    found = run_study(runs, name, few)
    figure = draw_study(runs, found, **({"names": ["a", "b", "c"]} if name == "credit" else {}))
    assert figure.axes
    saved = runs["ia1 none"][0].folder / "figures" / f"degrade-{name}.png"
    assert saved.stat().st_size > 5000


def few_shifts(clips):
    return [Shift(-0.5), Shift(0.0)]


def test_the_notebook_degrades_two_systems_of_clips(smoke, tmp_path, monkeypatch):
    monkeypatch.setattr(surface, "SNRS", (0,))
    monkeypatch.setattr(surface, "PICTURES", (Gone("video", 0.5, "scattered"),))
    whole = loss.conditions
    monkeypatch.setattr(loss, "conditions", lambda clips, fill: whole(clips, fill, levels=2))
    monkeypatch.setitem(STUDIES, "offset", STUDIES["offset"]._replace(conditions=few_shifts))
    folder = tmp_path / "toy" / smoke.parent.name / smoke.name
    shutil.copytree(smoke, folder)
    other = tmp_path / "toy" / smoke.parent.name.replace("softhard", "again") / smoke.name
    shutil.copytree(smoke, other)
    given = {"run": str(folder), "compare": str(other), "fill": "mean", "noise": "hum"}
    with without_kernels():
        papermill.execute_notebook(ROOT / "notebooks" / "degrade.ipynb", None, given, progress_bar=False)
    sentences = json.loads((folder / "studies" / "sentences.json").read_text())
    assert list(sentences) == ["loss", "surface", "offset", "conflict", "calibration", "credit", "stand_ins"]
    assert all("again" in told and "softhard" in told for told in sentences.values())
    kept = pd.read_parquet(other / "studies" / "loss.parquet")
    assert kept["condition"].str.contains("mean instead").any()
    assert {path.stem for path in (folder / "figures").glob("degrade-*.png")} == {f"degrade-{name}" for name in STUDIES}
