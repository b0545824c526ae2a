from pathlib import Path

import mistune
import pytest
import torch
import yaml
from bs4 import BeautifulSoup

from avlib.dropout import DROPOUTS
from avlib.fusion import FUSIONS
from workbook import DATA, OUTPUTS, ROOT, InputError
from workbook.run import parameters
from workbook.run.parameters import NAMES, Parameters
from workbook.sweep.grid import expand

FILES = sorted((ROOT / "params").glob("*.yaml"))


def refusal(**values) -> str:
    """The sentence that these values are refused with."""
    with pytest.raises(InputError) as refused:
        Parameters(**values)
    sentence = str(refused.value)
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_of_parameters_is_accepted_with_the_very_types_it_has(file, tmp_path):
    (tmp_path / "mine.npz").touch()
    for values in expand(yaml.safe_load(file.read_text())):
        root = tmp_path / "mine.npz" if values["dataset"] == "features" else tmp_path
        where = {} if values["dataset"] in ("toy", "toy_mosei") else {"data_root": str(root)}
        config = Parameters(**where | values).model_dump(mode="json")
        for name, value in values.items():
            is_path = name in ("outputs_root", "data_root", "pretrained") and "/" in str(value)
            assert config[name] == (str(ROOT / value) if is_path else value)
            assert type(config[name]) is type(value), f"{name}: {value!r} in {file.name}"


def test_zero_and_empty_text_stand_for_the_defaults_of_the_dataset(tmp_path):
    toy = Parameters(epochs=0, frames=0, data_root="", outputs_root="")
    assert (toy.epochs, toy.batch_size, toy.image_size, toy.frames) == (14, 16, 64, 6)
    assert (toy.data_root, toy.outputs_root) == (DATA / "toy", OUTPUTS)
    ravdess = Parameters(dataset="ravdess", data_root=str(tmp_path), epochs=7)
    assert (ravdess.epochs, ravdess.batch_size, ravdess.image_size, ravdess.frames) == (7, 8, 224, 15)


def test_a_relative_path_starts_at_the_workbook(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Parameters(outputs_root="here/runs").outputs_root == ROOT / "here/runs"
    assert Parameters(data_root="~/toys").data_root == Path.home() / "toys"


def test_text_and_whole_floats_are_taken_for_the_numbers_they_hold():
    config = Parameters(learning_rate="4e-2", heads=4.0, fold="3", epochs="0", resume="false", classes="7")
    assert (config.learning_rate, config.heads, config.fold, config.epochs) == (0.04, 4, 3, 14)
    assert (config.resume, config.classes) == (False, 7)
    assert type(config.heads) is int and Parameters(fusion="mult").heads == 5


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"fuson": "ia"}, "unknown parameter 'fuson': did you mean 'fusion'?"),
        ({"self": 1}, "unknown parameter 'self'; `avlib parameters` lists the known ones"),
        ({"fusion": "vidoe"}, f"fusion is 'vidoe'; choose one of {', '.join(FUSIONS)}: did you mean 'video'?"),
        ({"dropout": False}, f"dropout is False; choose one of {', '.join(DROPOUTS)}"),
        ({"classes": 9}, "classes is 9, which toy does not have: choose 8 or 7"),
        ({"fold": 9}, "fold is 9; it must be a whole number from 0 to 4 in fold_scheme 'paper'"),
        ({"heads": "four"}, "heads is 'four'; it should be a valid integer"),
        ({"fusion": "mult", "heads": 0}, "heads is 0; it should be greater than or equal to 1"),
        ({"heads": 3}, "heads is 3, which does not divide the attention width of fusion 'ia'"),
        ({"epochs": True}, "epochs is True; it should be a number, without a 0 in front"),
        ({"learning_rate": "00.1"}, "learning_rate is 00.1; it should be a number, without a 0 in front"),
        ({"learning_rate": "inf"}, "learning_rate is 'inf'; it should be a finite number"),
        ({"frames": None}, "frames is None; leave it out for its default"),
        ({"pretrained": "None"}, "pretrained is None; leave it out for its default, or write none"),
        ({"data_root": "~nosuchuser/x"}, "data_root is '~nosuchuser/x'; it should be a path"),
        ({"fusion": "audio", "train_vision": False}, "train_vision is False, but this run has no frame network"),
        (
            {"image_size": 64, "dataset": "toy_mosei"},
            "image_size is 64, but toy_mosei comes as features: leave it at 0",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_one_sentence(values, sentence):
    assert refusal(**values).startswith(sentence)


def test_an_input_that_is_missing_here_is_refused_with_one_sentence(machine):
    machine(cards=0)
    for values, sentence in (
        ({"pretrained": "/no/where.pth"}, "pretrained is /no/where.pth, which is no file"),
        ({"dataset": "ravdess", "data_root": "/no/where"}, "data_root is /no/where, which is no folder"),
        ({"device": "cuda"}, "device is 'cuda', but PyTorch finds no CUDA device"),
    ):
        with pytest.raises(InputError, match=sentence):
            Parameters(**values).check_inputs()


def test_a_file_of_weights_is_found_from_the_workbook_and_may_be_none(tmp_path):
    weights = tmp_path / "weights.pth"
    weights.touch()
    assert Parameters(pretrained=str(weights)).pretrained == str(weights)
    assert Parameters(pretrained="README.md").pretrained == str(ROOT / "README.md")
    assert Parameters().pretrained == "none"


@pytest.fixture
def machine(monkeypatch):
    """A function that makes PyTorch see a machine with these cards, for which it is compiled as `compiled` says."""

    def pretend(cards=1, capability=(9, 0), compiled="sm_75 sm_80 sm_86 sm_90a sm_120 compute_120"):
        for function in (parameters._device, parameters._why_no_gpu):
            function.cache_clear()
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
        monkeypatch.setattr(torch.cuda, "get_arch_list", compiled.split)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Pretend")

    yield pretend
    for function in (parameters._device, parameters._why_no_gpu):
        function.cache_clear()


@pytest.mark.parametrize(
    "card, device",
    [
        ({"cards": 0}, "cpu"),
        ({"capability": (8, 9)}, "cuda"),  # runs what is compiled for sm_86
        ({"capability": (7, 0)}, "cpu"),  # a V100, of which a PyTorch for CUDA 13 knows nothing
        ({"capability": (13, 0)}, "cuda"),  # a later one compiles PTX itself
        ({"capability": (9, 4), "compiled": "gfx90a gfx942"}, "cuda"),  # AMD's
    ],
)
def test_auto_is_a_gpu_that_this_pytorch_is_compiled_for(card, device, machine, caplog):
    machine(**card)
    assert Parameters().device == device
    assert Parameters(device="cpu").device == "cpu"
    is_old = device == "cpu" and card.get("cards", 1)
    assert ("this PyTorch is not compiled for Pretend (sm_" in caplog.text) is bool(is_old)
    if device == "cpu":
        with pytest.raises(InputError, match=r"device is 'cuda', but (this PyTorch is not compiled|PyTorch finds no)"):
            Parameters(device="cuda").check_inputs()


def test_parameters_show_what_is_no_default_and_unfold_to_all():
    config = Parameters(fusion="lt", frames=5)
    assert repr(config).split() == ["fusion", "lt", "frames", "5"]
    shown = config._repr_markdown_()
    assert "<summary>Parameters: fusion <code>lt</code>, frames <code>5</code></summary>" in shown
    assert all(f"| {name} |" in shown for name in NAMES)
    assert repr(Parameters(frames=6)) == "all parameters: default"


def test_a_path_among_the_parameters_is_text_in_a_notebook():
    path = "/<img src=x onerror=alert(1)>/`|*a*|`</code></details><b>"
    page = BeautifulSoup(mistune.html(Parameters(data_root=path)._repr_markdown_()), "html.parser")
    assert page.get_text().count(path) == 2 and not page.find_all(["img", "em", "b"])
    assert {len(row.find_all(["td", "th"])) for row in page.find_all("tr")} == {3}
