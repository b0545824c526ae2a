"""The examples of docs/extending.md, run as they are printed."""

import re

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

import workbook
from avlib import build_model
from avlib.fusion import FUSIONS
from workbook import InputError
from workbook.cli import main
from workbook.data.datasets import DATASETS
from workbook.data.ravdess import EMOTIONS
from workbook.evaluate.evaluation import predict
from workbook.evaluate.metrics import metrics
from workbook.run.parameters import Parameters
from workbook.run.run_folder import network_settings
from workbook.task import Classification
from workbook.train.batches import Clips, splits
from workbook.train.training import fit


def run_section(title: str) -> dict:
    """The names that the Python of a section of docs/extending.md defines."""
    text = (workbook.ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    code, namespace = "\n".join(re.findall(r"^```python\n(.*?)^```", section[1], re.M | re.S)), {}
    exec(compile(code, f"docs/extending.md, {title}", "exec"), namespace)
    return namespace


@pytest.fixture
def crema(tmp_path, monkeypatch):
    """The folder of twenty short sounds, named as in CREMA-D; the dataset of the example is registered."""
    monkeypatch.setattr(workbook, "DATA", tmp_path / "data")
    monkeypatch.setitem(DATASETS, "crema", None)  # so that it is taken out again
    run_section("A dataset")
    folder, rng = tmp_path / "CREMA-D" / "AudioWAV", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for actor in range(1001, 1006):
        for code in ("ANG", "HAP", "NEU", "SAD"):
            soundfile.write(folder / f"{actor}_DFA_{code}_XX.wav", 0.1 * rng.standard_normal(22050), 22050)
    (folder / "1001_DFA_JOY_XX.wav").touch()
    return folder.parent


def test_a_dataset_is_one_record_and_one_reader(crema, tmp_path):
    with pytest.raises(InputError, match=r"which is no folder; give the one that holds CREMA-D"):
        Parameters(dataset="crema").check_inputs()
    with pytest.raises(InputError, match=r"fold_scheme is loso, which crema does not have: choose groups$"):
        Parameters(dataset="crema", data_root=str(crema), fold_scheme="loso")
    given = {"dataset": "crema", "data_root": str(crema), "outputs_root": str(tmp_path), "fusion": "audio", "heads": 1}
    config = Parameters(**given, batch_size=4, dropout="none")
    assert (config.epochs, config.learning_rate, config.frames, config.classes) == (30, 0.04, 8, 6)
    assert config.folder.relative_to(tmp_path).parts[0] == "crema"
    assert "crema" in CliRunner().invoke(main, ["parameters"]).output

    with pytest.raises(InputError, match=r"there is no store of crema .*-p dataset crema"):
        config.corpus.open_store()
    made = config.corpus.preprocess(workers=1, progress=False)
    store = config.corpus.open_store()
    assert store.fingerprint == made.fingerprint and len(store) == 20
    assert list(store.problems["path"]) == [str(crema / "AudioWAV" / "1001_DFA_JOY_XX.wav")]
    assert store.manifest["names"] == ["angry", "disgust", "fearful", "happy", "neutral", "sad"]

    clips = splits(store, config.fold, config.classes, ("audio",), fold_scheme=config.fold_scheme)
    assert {name: len(part) for name, part in clips.items()} == {"train": 12, "validation": 4, "test": 4}
    net = build_model(**network_settings(config, store))
    assert net.classifier.out_features == 6
    given = {"dropout": "none", "batch_size": 4, "learning_rate": 0.01, "seed": 1, "epochs": 1}
    (row,) = fit(net, clips["train"], clips["validation"], tmp_path, **given)
    assert row["epoch"] == 1 and (tmp_path / "model.safetensors").exists()


@pytest.fixture
def clips(tiny_store):
    labels = tiny_store.clips.label.to_numpy()
    return [Clips(tiny_store, rows, labels[rows], Classification(EMOTIONS)) for rows in np.split(np.arange(48), [32])]


@pytest.fixture
def gate(monkeypatch):
    monkeypatch.setitem(FUSIONS, "gate", None)  # so that it is taken out again
    return run_section("A fusion")["GatedMeans"]


def test_a_fusion_is_one_class_and_one_entry(gate, clips, tmp_path):
    config = Parameters(fusion="gate", outputs_root=str(tmp_path), image_size=64)
    assert config.folder == tmp_path / "toy" / "gate1-softhard" / "fold0-seed1"
    with pytest.raises(InputError, match="heads is 2, but fusion 'gate' has no attention"):
        Parameters(fusion="gate", heads=2)
    net = build_model(config.fusion, image_size=64)
    given = {"dropout": "softhard", "batch_size": 16, "learning_rate": 0.01, "seed": 1, "epochs": 1}
    before = net.fusion.gate.weight.clone()
    (row,) = fit(net, *clips, tmp_path, **given)
    assert row["epoch"] == 1 and not torch.equal(net.fusion.gate.weight, before)


def test_conditions_and_figures_take_what_evaluation_gives(clips):
    conditions = run_section("A condition")["conditions"]
    predictions = predict(build_model("ia", image_size=64), clips[1], conditions, fold=0, seed=1)
    assert list(metrics(predictions)["conditions"])[-2:] == ["picture at 50%", "picture at 10%"]
    ax = run_section("A figure")["confidence"](predictions)
    assert len(ax.lines) == len(conditions)
    assert all((line.get_xdata() >= 1 / 8).all() for line in ax.lines), "the largest of eight probabilities"
