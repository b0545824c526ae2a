"""Trainings beside run folders: small ones, and the protocol ladder on data whose leak is known.

There the labels follow the people, not the emotions.
"""

import json
import shutil

import numpy as np
import pandas as pd
import papermill
import pytest
from in_process import without_kernels
from smoke_runs import run_smoke

from workbook import ROOT, InputError, open_trained
from workbook.data.datasets import Corpus
from workbook.evaluate.metrics import metrics
from workbook.evaluate.protocol import RUNGS, in_words, ladder
from workbook.run.parameters import Parameters
from workbook.run.small_runs import FOLDER, rung_predictions, train_on_test, train_small
from workbook.toy.accents import make_file


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    path = tmp_path_factory.mktemp("accents") / "people.npz"
    make_file(path)
    return {"dataset": "features", "data_root": path, "fusion": "concat", "dropout": "none", "fold_scheme": "paper"}


@pytest.mark.parametrize("choose_on", ["validation", "test"])
def test_a_small_run_has_the_weights_of_the_chosen_epoch(settings, choose_on):
    run = train_small(Parameters(**settings, epochs=2, batch_size=64, learning_rate=0.004), choose_on)
    chosen = run.history[run.history["best"]].iloc[-1]
    table = run.predict()
    assert metrics(table)["conditions"]["AV"]["accuracy"] == pytest.approx(chosen["test_accuracy"])
    assert set(table["condition"]) == {"AV"} and set(table["actor"]) == set(run.clips["test"].table["actor"])
    assert run.history["validation_accuracy"].equals(run.history["test_accuracy"]) == (choose_on == "test")


def test_a_small_run_is_tested_on_another_corpus(settings, tmp_path):
    run = train_small(Parameters(**settings, epochs=1, batch_size=64))
    make_file(tmp_path / "strangers.npz", range(101, 106))
    strangers = run.clips_of(Corpus("features", tmp_path / "strangers.npz"))
    table = run.predict(strangers)
    assert set(table["actor"]) == {*range(101, 106)} and table["seed"].eq(1).all()
    test = run.clips["test"]
    assert strangers.scales is test.scales and strangers.task == test.task


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Fold 0 of five, evaluated. Each of 15 people has one label and a face of their own; nothing else tells it."""
    rng, outputs = np.random.default_rng(0), tmp_path_factory.mktemp("rungs")
    groups, labels = np.repeat(np.arange(15), 8), np.repeat(np.arange(15) % 3, 8)
    video = rng.standard_normal((15, 6, 1))[groups] + 0.1 * rng.standard_normal((120, 6, 5))
    np.savez(outputs / "mine.npz", audio=rng.standard_normal((120, 4, 20)), video=video, label=labels, group=groups)
    given = {"dataset": "features", "data_root": str(outputs / "mine.npz"), "epochs": 8, "frames": 0, "image_size": 0}
    given |= {"learning_rate": 0.01, "dropout": "none", "batch_size": 8}
    with without_kernels():
        folders = [run_smoke(outputs, outputs, ("train", "evaluate"), **given, fold=fold) for fold in range(5)]
    return folders[0]


def test_a_rung_that_is_not_there_is_named(run):
    opened = open_trained(run)
    with pytest.raises(InputError, match=r"clips.model\.safetensors is missing: workbook.*\.train_on_test makes it"):
        rung_predictions(opened)


def test_the_notebook_shows_how_much_of_the_number_is_people_that_were_met(run, tmp_path):
    with without_kernels():
        papermill.execute_notebook(ROOT / "notebooks/protocol.ipynb", None, {"run": str(run)}, progress_bar=False)
    table = pd.read_csv(run / "protocol.csv").set_index("rung")
    assert tuple(table.index) == RUNGS
    assert table["value"]["random split of clips"] > 95  # who has met the people knows their labels
    assert table["value"]["all folds"] < 60  # of three labels, by luck
    assert table["actors"].tolist()[0] > 10 and table["actors"].tolist()[1:] == [3, 3, 15]
    evaluated = json.loads((run / "metrics.json").read_text())["conditions"]["AV"]["accuracy"]
    assert table["value"]["epoch chosen on validation"] == pytest.approx(evaluated)
    assert table["value"]["split of actors"] >= evaluated  # the best of the same epochs, by the test clips
    assert (run / "figures" / "protocol.png").stat().st_size
    found = ladder(rung_predictions(open_trained(run)))
    words = in_words(found)
    assert words.startswith(f"**{found.value[0] - found.value[3]:.1f} points** come from the protocol: ")
    assert f"{found.value[0]:.1f} % with random split of clips, {found.value[3]:.1f} % with all folds" in words


def test_a_run_whose_other_folds_were_never_trained_has_the_first_three_rungs(run, tmp_path):
    alone = open_trained(shutil.copytree(run, tmp_path / "alone" / run.name))
    every, three = rung_predictions(open_trained(run)), rung_predictions(alone)
    assert tuple(three) == RUNGS[:3]
    for rung in three:
        pd.testing.assert_frame_equal(three[rung], every[rung])


def test_a_training_on_test_goes_on_where_it_was_stopped(run):
    opened = open_trained(run)
    rows = train_on_test(opened, "clips")
    assert [next(rows)["epoch"], next(rows)["epoch"]] == [1, 2]
    rows.close()
    before = (run / FOLDER / "clips" / "model.safetensors").read_bytes()
    assert len(list(train_on_test(opened, "clips"))) == 8
    assert (run / FOLDER / "clips" / "model.safetensors").read_bytes() == before
