import json
import subprocess
from dataclasses import replace
from unittest.mock import Mock

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from smoke_runs import data

import avlib
from avlib import build_model
from workbook import InputError, load_run
from workbook.files import write_table
from workbook.run.parameters import Parameters
from workbook.run.record import git_commit
from workbook.run.reopen import find_run
from workbook.run.run_folder import ARTEFACTS, check_same_run, start_run


@pytest.fixture
def config(tmp_path):
    """Makes parameters whose runs are kept in the test's own folder."""
    return lambda **values: Parameters(outputs_root=str(tmp_path / "runs"), **values)


def leave_artefacts(folder):
    """A file with its own name in it for each artefact of a run but run.json."""
    (folder / "figures").mkdir()
    for name in ARTEFACTS:
        if name != "run.json":
            (folder / name / "a.png" if name == "figures" else folder / name).write_text(name)


def made(parameters, store):
    """The run after a training that did nothing."""
    with start_run(parameters, store) as run:
        pass
    return run


def trained(parameters):
    """A run that left everything behind that training and evaluation leave."""
    with start_run(parameters, data("abc")) as run:
        leave_artefacts(run.folder)
        write_table(run.folder / "history.csv", pd.DataFrame({"epoch": range(1, parameters.epochs + 1)}))
    return run


def renamed(run, folder):
    """The run in another folder, as one from before its parameters were in its name."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    run.folder.rename(folder)
    return replace(run, folder=folder)


def names(folder):
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def test_a_new_run_records_what_it_was_made_with(config):
    parameters = config(epochs=3)
    run = made(parameters, data("abc"))
    record = json.loads((run.folder / "run.json").read_text())
    assert record == run.record.model_dump(mode="json")
    assert record["parameters"] == parameters.model_dump(mode="json")
    assert record["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert record["versions"]["avlib"] == avlib.__version__
    assert (record["fingerprint"], record["seconds"].keys()) == ("abc", {"train"})
    assert record["started"].endswith("+00:00")


def test_the_same_run_is_continued_with_its_seconds_and_its_files(config):
    first = made(config(), data("abc"))
    leave_artefacts(first.folder)
    with first.stage("train"):
        pass
    again = made(config(resume=True, device="cpu"), data("abc"))
    assert again.record.started == first.record.started
    assert again.record.seconds["train"] >= first.record.seconds["train"]
    assert names(again.folder) == set(ARTEFACTS)


def test_another_run_in_the_same_folder_is_refused_and_left_as_it_was(config):
    difference = "learning_rate 0.02, not 0.06"
    run = renamed(made(config(learning_rate=0.02), data("abc")), config().folder)
    content = (run.folder / "run.json").read_bytes()
    with pytest.raises(InputError, match=difference) as refused, start_run(config(), data("abc")):
        pytest.fail("two runs in one folder")
    assert str(run.folder) in str(refused.value) and "outputs_root" in str(refused.value)
    assert "set resume = False to start over" in str(refused.value)
    with pytest.raises(InputError, match=difference):
        check_same_run(config())
    assert (run.folder / "run.json").read_bytes() == content and names(run.folder) == {"run.json"}


def test_the_same_parameters_on_other_data_are_another_run(config):
    made(config(), data("abc"))
    check_same_run(config())
    with pytest.raises(InputError, match="other data"):
        made(config(), data("xyz"))


def test_starting_over_removes_the_artefacts_and_nothing_else(config):
    run = trained(config())
    (run.folder / "train.ipynb").write_text("executed")
    again = made(config(resume=False), data("xyz"))
    assert names(again.folder) == {"run.json", "train.ipynb"}


def test_a_run_is_found_by_its_folder_and_the_newest_without_one(config, tmp_path, monkeypatch):
    monkeypatch.setattr("workbook.OUTPUTS", tmp_path / "runs")
    with pytest.raises(InputError, match=r"no run is trained under .*runs; train one with: papermill notebooks/train"):
        find_run()
    first, second = trained(config(epochs=3)), trained(config(epochs=3, fusion="lt"))
    made(config(fusion="it"), data("abc"))  # without weights
    with first.stage("evaluate"):
        pass
    assert find_run() == second.folder and find_run(first.folder) == first.folder
    message = f"run is .*nowhere, which holds no trained run; choose one of {second.folder}, {first.folder}$"
    with pytest.raises(InputError, match=message):
        find_run(tmp_path / "nowhere")


def test_a_run_whose_training_was_interrupted_is_not_opened(config):
    with pytest.raises(InputError, match="stopped after epoch 2 of 3"), start_run(config(epochs=3), data("abc")) as run:
        leave_artefacts(run.folder)
        write_table(run.folder / "history.csv", pd.DataFrame({"epoch": [1, 2]}))
        raise KeyboardInterrupt
    with pytest.raises(InputError, match=r"trained for 2 of 3 epochs; go on with: papermill .* -p epochs 3"):
        find_run(run.folder)


def test_a_model_comes_back_out_of_its_folder_as_it_went_in(config):
    system = {"fusion": "lt", "heads": 2, "classes": 7, "dense_head": True}
    run = made(config(**system), data("abc"))
    net = build_model(**system, image_size=64).eval()
    save_file(net.state_dict(), run.folder / "model.safetensors")
    audio, video = torch.randn(2, 10, 47), torch.rand(2, 3, 3, 64, 64)
    loaded = load_run(run.folder)
    assert not loaded.training
    with torch.inference_mode():
        torch.testing.assert_close(loaded(audio, video).logits, net(audio, video).logits, rtol=0, atol=0)


def test_a_folder_without_a_trained_run_is_refused(config, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="is no trained run"):
        load_run(tmp_path / "nowhere")
    run = made(config(), data("abc"))
    (run.folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(InputError, match="does not hold the model"):
        load_run(run.folder)
    save_file(build_model(fusion="it", image_size=64).state_dict(), run.folder / "model.safetensors")
    with pytest.raises(InputError, match="does not hold the model") as refused:
        load_run(run.folder)
    assert "\n" not in str(refused.value) and "train it again" in str(refused.value)
    monkeypatch.setattr("workbook.run.reopen.read_weights", Mock(side_effect=MemoryError()))  # an error without a text
    with pytest.raises(InputError, match="does not hold the model"):
        load_run(run.folder)


def test_the_commit_is_the_checkouts_own(tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    monkeypatch.setattr("workbook.run.record.ROOT", tmp_path)
    (tmp_path / "file").write_text("one"), (tmp_path / "train.ipynb").write_text("{}")
    for step in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "Begin"]):
        subprocess.run([*git, *step], check=True)
    (tmp_path / "train.ipynb").write_text('{"cells": []}')
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert git_commit() == {"commit": head, "dirty": False}, "a notebook's parameters and outputs are no code"
    (tmp_path / "file").write_text("two")
    assert git_commit()["dirty"]
    monkeypatch.setattr("workbook.run.record.ROOT", tmp_path / "inside")
    assert git_commit() is None, "a workbook inside another checkout is not that checkout"
