"""A run from its training to its being opened again, on a small file of features."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import workbook
from avlib.fusion import FUSIONS
from workbook import InputError, open_trained
from workbook.evaluate.conditions import paper_conditions
from workbook.evaluate.evaluation import predict
from workbook.explore.explorer import Explorer
from workbook.plots import network_diagram
from workbook.run import open_run
from workbook.run.parameters import Parameters, read_own_fusions
from workbook.run.record import note, read_record
from workbook.run.reopen import build_network, clips_of, names_of, subjects
from workbook.run.run_folder import check_same_run, start_run
from workbook.train.training import fit


@pytest.fixture
def config(features, tmp_path):
    """Makes parameters of a run on these features."""
    values = {"dataset": "features", "data_root": str(features), "dropout": "softhard", "epochs": 2, "device": "cpu"}
    return lambda **changes: Parameters(**(values | {"outputs_root": str(tmp_path / "runs")} | changes))


def train(config):
    """The run after its training, as the notebook does it."""
    store = config.corpus.open_store()
    clips = clips_of(config, store)
    torch.manual_seed(config.seed)
    net = build_network(config, store)
    with start_run(config, store) as run:
        for _ in fit(net, clips["train"], clips["validation"], run.folder, **config.of_training):
            pass
    return run


def state(folder):
    return read_record(folder).describe_state(folder)


def test_a_trained_run_opens_by_its_folder_with_all_that_it_takes(config):
    run = train(config(seed=3))
    opened = open_trained(run.folder, device="cpu")
    assert opened.parameters == config(seed=3)
    assert (opened.folder, opened.record) == (run.folder, run.record)
    assert not opened.network.training
    assert opened.task.names == ("0", "1", "2")
    assert sum(map(len, (opened.train, opened.validation, opened.test))) == len(opened.store) == 60
    assert not {*opened.train.table.actor} & {*opened.test.table.actor}
    audio, video, _ = opened.test[torch.arange(5)]
    loaded = workbook.load_run(run.folder)
    with torch.inference_mode():
        torch.testing.assert_close(opened.network(audio, video).logits, loaded(audio, video).logits, rtol=0, atol=0)


def test_a_run_opens_wherever_its_folder_and_its_data_were_moved(config, features, tmp_path):
    run = train(config())
    moved, data = tmp_path / "a class" / "run 1", tmp_path / "elsewhere" / "own.npz"
    shutil.copytree(run.folder, moved)
    data.parent.mkdir()
    shutil.copy(features, data)
    assert open_trained(moved).folder == moved
    assert len(open_trained(moved, data_root=data).test) == len(open_trained(moved).test)
    with np.load(features) as arrays:
        np.savez(data, **{**arrays, "audio": arrays["audio"] + 1})
    with pytest.raises(InputError, match="was trained on other data"):
        len(open_trained(moved, data_root=data).store)


def test_a_notebook_opens_the_run_that_it_names_and_again_when_its_guard_runs_again(config):
    run = train(config())
    namespace = {"run": str(run.folder), "device": "cpu", "In": ['run: str = ""\ndevice: str = "auto"']}
    opened = namespace["run"] = open_run(namespace)
    assert (opened.folder, opened.parameters) == (run.folder, config())
    assert str(run.folder) in opened._repr_markdown_() and "trained 20" in repr(opened)
    assert open_run(namespace).folder == run.folder


def test_a_run_says_how_it_stands(config):
    run = train(config())
    assert (state(run.folder), run.record.stage) == ("done", "train")
    assert run.record.ended >= run.record.started
    with pytest.raises(ZeroDivisionError), run.stage("evaluate"):
        assert state(run.folder) == "running"
        raise ZeroDivisionError("too\nlittle")
    assert state(run.folder) == "failed: ZeroDivisionError: too little"
    with pytest.raises(KeyboardInterrupt), run.stage("evaluate"):
        raise KeyboardInterrupt
    assert state(run.folder) == "interrupted"
    with pytest.raises(InputError, match="it ends here"), run.stage("attention"):
        raise InputError("it ends here")
    assert state(run.folder) == "failed: it ends here"
    with pytest.raises(InputError), run.stage("attention"):
        raise InputError("Jos\udce9.mp4 is not there")  # a name that is not UTF-8
    assert state(run.folder) == "failed: Jos\\udce9.mp4 is not there"
    assert run.record.seconds.keys() == {"train", "evaluate", "attention"}


def test_what_training_will_find_is_said_beforehand(config):
    assert check_same_run(config()) == f"a new run: {config().folder}"
    train(config())
    assert check_same_run(config()) == "already trained 2 of 2 epochs; resume = False trains it again"
    history = config().folder / "history.csv"
    history.write_text("\n".join(history.read_text().splitlines()[:2]))
    assert check_same_run(config()) == "trained 1 of 2 epochs so far; training goes on from there"
    assert check_same_run(config(resume=False)).startswith("a new run: ")


def test_a_second_training_is_refused_while_the_first_one_runs(config):
    with start_run(config(), config().corpus.open_store()):
        assert state(config().folder) == "running"
        with pytest.raises(InputError, match=f"is in use by process {os.getpid()} on .* since "):
            train(config())
    assert state(config().folder) == "done"


def test_runs_on_the_same_clips_are_found_beside_a_run_and_opened_when_called(config):
    own, other, _ = (train(config(**changes)).folder for changes in ({}, {"seed": 2}, {"fold": 1}))
    run = open_trained(own)
    predict(run.network, run.test, paper_conditions("none"), fold=0, seed=1).to_parquet(own / "predictions.parquet")
    openers = subjects(run)
    assert [*openers] == [f"{folder.parent.name}/{folder.name}" for folder in (own, other)]
    first, second = (opened() for opened in openers.values())
    assert first.net is run.network and set(first.predictions.condition) >= {"AV", "A", "V"}
    assert second.net is not run.network and second.predictions is None
    assert [condition.name for condition in second.conditions] == ["AV", "A", "V"]
    note(other, trained=None)  # its training goes on
    assert [*subjects(run)] == [own.parent.name]


def test_runs_with_the_same_name_below_other_folders_are_told_apart():
    one, two, other = (Path(system, "fold0-seed1") for system in ("a/toy/ia1", "b/toy/ia1", "a/toy/lt1"))
    assert names_of([one, other]) == ["ia1", "lt1"]
    assert names_of([one, two, other]) == [str(one), str(two), str(other)]


def test_two_notebooks_on_a_run_keep_each_others_entries(config):
    folder = train(config()).folder
    first, second = open_trained(folder), open_trained(folder)
    with first.stage("evaluate"):
        pass
    note(folder, notebooks={"train": 1.0})
    with second.stage("attention"):
        pass
    record = read_record(folder)
    assert record.seconds.keys() == {"train", "evaluate", "attention"} and record.notebooks == {"train": 1.0}


OWN_FUSION = """
import torch
from torch import nn
from avlib.fusion import FUSIONS, STAGE2, Fusion


class GatedMeans(Fusion):
    def __init__(self, heads=1):
        super().__init__()
        self.gate = nn.Linear(sum(STAGE2), sum(STAGE2))

    def pool(self, audio, video):
        means = super().pool(audio, video)
        return means * torch.sigmoid(self.gate(means))


FUSIONS["gate"] = GatedMeans
"""


def test_a_run_of_ones_own_fusion_is_opened_evaluated_and_explored_once_its_file_is_read(config, tmp_path, monkeypatch):
    monkeypatch.setitem(FUSIONS, "gate", None)  # so that it is taken out again
    file = tmp_path / "my_fusions.py"
    file.write_text(OWN_FUSION)
    read_own_fusions(file)
    folder = train(config(fusion="gate")).folder
    del FUSIONS["gate"]  # another kernel
    with pytest.raises(InputError, match=r"has fusion 'gate', which nobody has .* define it in .*my_fusions.py$"):
        open_trained(folder)
    read_own_fusions(file)
    run = open_trained(folder)
    assert type(run.network.fusion).__name__ == "GatedMeans"
    table = predict(run.network, run.test, paper_conditions("none")[:3], fold=0, seed=1)
    assert set(table["condition"]) == {"AV", "A", "V"}
    assert network_diagram(run.network, *run.test[torch.arange(1)][:2]).words.endswith("clip: 256; classifier: 3")
    assert Explorer(subjects(run), run.test).names == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("import torch\n\nFUSIONS['gate'] = 3\n", "line 3: NameError: name 'FUSIONS' is not defined"),
        ("import torch\nclass Gate(\n", "line 2: SyntaxError: "),
        ("from avlib import build_model\nbuild_model('gate')\n", "line 2: ValueError: fusion is 'gate'"),
    ],
)
def test_a_mistake_in_the_file_of_ones_own_fusions_is_a_sentence_with_its_line(text, place, tmp_path):
    file = tmp_path / "my_fusions.py"
    file.write_text(text)
    with pytest.raises(InputError) as refused:
        read_own_fusions(file)
    assert str(refused.value).startswith(f"{file}, {place}") and "\n" not in str(refused.value)
