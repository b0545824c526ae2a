"""The examples of docs/extending.md, run as they are printed."""

import re

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import avlib
from avlib import InputError, build_model
from avlib.batches import splits
from avlib.data.datasets import DATASETS, ensure_store, preprocess
from avlib.run.cli import main
from avlib.run.params import Parameters
from avlib.run.records import network_settings
from avlib.training import fit


def blocks(title: str) -> str:
    """The Python of a section of docs/extending.md, all of its blocks as one text."""
    text = (avlib.ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert section, f"docs/extending.md has no section '{title}'"
    return "\n".join(re.findall(r"^```python\n(.*?)^```", section[1], re.M | re.S))


def run_section(title: str) -> dict:
    """The names that the Python of a section defines."""
    namespace = {}
    exec(compile(blocks(title), f"docs/extending.md, {title}", "exec"), namespace)
    return namespace


# a dataset


@pytest.fixture
def crema(tmp_path, monkeypatch):
    """The folder of twenty short sounds, named as in CREMA-D; the dataset of the example is registered."""
    monkeypatch.setattr(avlib, "DATA", tmp_path / "data")
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
        Parameters(dataset="crema")
    with pytest.raises(InputError, match=r"fold_scheme is 'loso', which crema does not have; choose groups$"):
        Parameters(dataset="crema", data_root=str(crema), fold_scheme="loso")
    given = {"dataset": "crema", "data_root": str(crema), "outputs_root": str(tmp_path), "fusion": "audio", "heads": 1}
    config = Parameters(**given, batch_size=4, dropout="none")
    assert (config.epochs, config.learning_rate, config.frames, config.classes) == (30, 0.04, 8, 6)
    assert config.folder.relative_to(tmp_path).parts[0] == "crema"
    assert "crema" in CliRunner().invoke(main, ["parameters"]).output

    with pytest.raises(InputError, match=r"there is no store of crema .*-p dataset crema"):
        ensure_store(config.dataset, config.data_root, **config.of_store)
    made = preprocess(config.dataset, config.data_root, **config.of_store, workers=1, progress=False)
    store = ensure_store(config.dataset, config.data_root, **config.of_store)
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
