"""The name of a run: as readable as ever for the usual runs, and no two runs share one."""

import re

import pytest

from workbook.run.parameters import NAMES, Parameters, usual_values
from workbook.run.run_name import UNNAMED, RunName

# For each parameter that a name tells apart: two values, and what else has to be given with them.
PAIRS = {
    "dataset": ("toy", "toy_mosei"),
    "data_root": ("one/faces.npz", "two/faces.npz"),
    "fusion": ("ia", "it"),
    "heads": (1, 4),
    "dense_head": (False, True),
    "pretrained": ("one/weights.pth", "two/weights.pth"),
    "audio_features": ("mfcc", "logmel"),
    "vision": ("timm:mobilenetv4_conv_small", "timm:mobilenetv4_conv_medium"),
    "train_vision": (True, False),
    "even_attention": (False, True),
    "dropout": ("none", "hard"),
    "balanced": (False, True),
    "classes": (8, 7),
    "fold_scheme": ("paper", "luna"),
    "fold": (0, 1),
    "seed": (1, 2),
    "frame_epochs": (4, 5),
    "class_weights": (False, True),
    "epochs": (14, 20),
    "batch_size": (16, 32),
    "learning_rate": (0.012345678, 0.012345679),
    "image_size": (64, 96),
    "frames": (6, 8),
    "protocol": ("paper", "mult"),
}


@pytest.fixture
def folder(tmp_path):
    """Gives the run folder of some parameters, below outputs_root."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for file in ("faces.npz", "weights.pth"):
            (tmp_path / name / file).touch()

    def of(**values):
        for name in values.keys() & {"data_root", "pretrained"}:
            values[name] = str(tmp_path / values[name]) if "/" in values[name] else values[name]
        return str(Parameters(outputs_root=str(tmp_path / "runs"), **values).folder.relative_to(tmp_path / "runs"))

    return of


@pytest.mark.parametrize("name", [name for name in NAMES if name not in UNNAMED])
def test_two_values_of_a_parameter_are_two_folders(name, folder):
    one, two = (folder(**{name: value}) for value in PAIRS[name])
    assert one != two
    for path in (one, two):
        assert re.fullmatch(r"[\w.+-]+/[\w.+-]+/[\w.+-]+", path) and max(map(len, path.split("/"))) < 80


def test_what_changes_no_number_is_not_in_the_name(folder):
    assert set(UNNAMED) == {"device", "resume", "tracker", "outputs_root"}
    assert folder() == folder(resume=False, device="cpu", tracker="mlflow")
    assert str(Parameters().folder.relative_to(Parameters().outputs_root)) == folder()


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"epochs": 14, "learning_rate": 0.06, "frames": 6}, "toy/ia1-softhard/fold0-seed1"),
        ({"fusion": "lt", "heads": 4, "dropout": "noise", "fold": 3, "seed": 5}, "toy/lt4-noise/fold3-seed5"),
        ({"fold_scheme": "loso", "fold": 23}, "toy/ia1-softhard/loso-fold23-seed1"),
        (
            {"audio_features": "logmel", "vision": "timm:mobilenetv4_conv_small", "train_vision": False},
            "toy/ia1-logmel-mobilenetv4_conv_small-frozen-softhard/fold0-seed1",
        ),
        ({"learning_rate": 1e-5, "batch_size": 32}, "toy/ia1-softhard-batch32-lr1e-05/fold0-seed1"),
        ({"pretrained": "frames"}, "toy/ia1-softhard-pretrained/fold0-seed1"),
    ],
)
def test_a_run_has_the_name_that_it_is_known_by(values, name, folder):
    assert folder(**values) == name


def test_a_file_is_named_by_its_stem_and_by_where_it_lies(folder):
    name = folder(dataset="features", data_root="one/faces.npz", pretrained="one/weights.pth")
    assert re.fullmatch(r"features/ia1-softhard-faces-[0-9a-f]{4}-weights-[0-9a-f]{4}/fold0-seed1", name)


def test_names_that_differ_in_odd_characters_alone_stay_apart():
    usual = usual_values("toy", "ia")
    one, two = (RunName(usual | {"vision": f"timm:hf{mark}x/y"}, usual).folder() for mark in ":_")
    assert one != two and len(one.parts) == 3
    long = RunName(usual | {"data_root": f"/{'long' * 60} name\n.npz"}, usual).folder()
    assert max(map(len, long.parts)) < 80 and str(long).isprintable() and " " not in str(long)
