import ast
from pathlib import Path

import papermill
import pytest
import yaml

from avlib.dropout import DROPOUTS
from avlib.fusion import FUSIONS
from workbook import DATA, OUTPUTS, ROOT, InputError
from workbook.data.audio import AUDIO_FEATURES
from workbook.data.datasets import DATASETS
from workbook.run.parameters import MUST_BE, NAMES, Parameters, choices, configure
from workbook.sweep.grid import expand
from workbook.sweep.notebooks import NOTEBOOKS

FILES = sorted((ROOT / "params").glob("*.yaml"))
CELL = 'dataset: str = "toy"  # toy | ravdess\nfusion: str = "ia"\nfold: int = 0\nlearning_rate: float = 0.04\n'


def refusal(**values) -> str:
    """The sentence that these values are refused with."""
    with pytest.raises(InputError) as refused:
        Parameters(**values)
    sentence = str(refused.value)
    assert "\n" not in sentence
    return sentence


def notebook(*cells: str) -> dict:
    """The globals of a notebook in which these cells were run one after the other."""
    namespace = {}
    for cell in cells:
        exec(cell, namespace)
    return namespace | {"In": ["", *cells, "config = configure(globals())"]}


def test_the_files_of_parameters_are_all_there():
    assert {file.stem for file in FILES} >= {"demo", "smoke", "lt", "it", "ia", "audio", "video"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_of_parameters_is_accepted_with_the_very_types_it_has(file, tmp_path):
    (tmp_path / "mine.npz").touch()
    for values in expand(yaml.safe_load(file.read_text())):
        root = tmp_path / "mine.npz" if values["dataset"] == "features" else tmp_path
        where = {} if values["dataset"] in ("toy", "toy_mosei") else {"data_root": str(root)}
        config = Parameters(**values, **where).model_dump(mode="json")
        for name, value in values.items():
            assert config[name] == (str(ROOT / value) if name == "outputs_root" else value)
            assert type(config[name]) is type(value), f"{name}: {value!r} in {file.name}"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_parameters_cell_of_a_notebook_holds_known_names_with_their_types_and_defaults(name):
    declared = papermill.inspect_notebook(ROOT / "notebooks" / f"{name}.ipynb")
    assert declared, f"{name}.ipynb has no cell tagged `parameters`"
    assert set(declared) <= set(NAMES)
    for parameter in declared.values():
        default = ast.literal_eval(parameter["default"])
        assert default == Parameters.model_fields[parameter["name"]].default, parameter["name"]
        assert parameter["inferred_type_name"] == type(default).__name__, parameter["name"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_name_in_a_file_of_parameters_is_declared_by_the_train_notebook(file):
    names = {name for values in expand(yaml.safe_load(file.read_text())) for name in values}
    assert names <= set(papermill.inspect_notebook(ROOT / "notebooks" / "train.ipynb"))


def test_datasets_and_audio_features_are_those_that_there_are():
    assert choices()["dataset"] == tuple(DATASETS)
    assert choices()["audio_features"] == tuple(AUDIO_FEATURES)


def test_every_parameter_says_what_it_may_be():
    assert set(NAMES) == choices().keys() | MUST_BE.keys()
    assert choices()["fusion"] == tuple(FUSIONS)
    assert choices()["dropout"] == tuple(DROPOUTS)


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
    config = Parameters(learning_rate="4e-2", heads=4.0, fold="3", epochs="0", resume="false", classes="7", frames=None)
    assert (config.learning_rate, config.heads, config.fold, config.epochs) == (0.04, 4, 3, 14)
    assert (config.resume, config.classes, config.frames) == (False, 7, 6)
    assert type(config.heads) is int


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"fuson": "ia"}, "unknown parameter 'fuson': did you mean 'fusion'?"),
        (
            {"train_vision": False, "fusion": "audio"},
            "train_vision is false, but this run has no frame network: leave it at true",
        ),
        (
            {"image_size": 64, "dataset": "toy_mosei"},
            "image_size is 64, but toy_mosei comes as features: leave it at 0",
        ),
        ({"zzz": 1}, "unknown parameter 'zzz'; `avlib parameters` lists the known ones"),
        ({"fusion": "xx"}, f"fusion is 'xx'; choose one of {', '.join(FUSIONS)}"),
        ({"fusion": "vidoe"}, f"fusion is 'vidoe'; choose one of {', '.join(FUSIONS)}: did you mean 'video'?"),
        ({"dropout": False}, f"dropout is False; choose one of {', '.join(DROPOUTS)}"),
        ({"dataset": ["toy"]}, f"dataset is ['toy']; choose one of {', '.join(DATASETS)}: did you mean 'toy'?"),
        ({"classes": 9}, "classes is 9; it must be 8, or 7 to leave neutral out"),
        ({"fold": 9}, "fold is 9; it must be a whole number from 0 to 4 in fold_scheme 'paper'"),
        (
            {"fold": 24, "fold_scheme": "loso"},
            "fold is 24; it must be a whole number from 0 to 23 in fold_scheme 'loso'",
        ),
        ({"fold": 1, "fold_scheme": "authors"}, "fold is 1; it must be 0, the only one in fold_scheme 'authors'"),
        ({"fold": -1}, "fold is -1; it must be a whole number from 0 to 4, or as many as fold_scheme has"),
        (
            {"fold_scheme": "lunar"},
            "fold_scheme is 'lunar'; choose one of "
            "paper, authors, luna, loso, groups, own, clips: did you mean 'luna'?",
        ),
        ({"heads": 1.5}, "heads is 1.5; it must be a whole number from 1"),
        ({"heads": "four"}, "heads is 'four'; it must be a whole number from 1"),
        ({"epochs": True}, "epochs is True; it must be a whole number from 1 to 100000"),
        ({"epochs": -1}, "epochs is -1; it must be a whole number from 1 to 100000"),
        ({"batch_size": 1}, "batch_size is 1; it must be a whole number from 2 to 100000"),
        ({"learning_rate": -1}, "learning_rate is -1; it must be a number above 0"),
        ({"learning_rate": "inf"}, "learning_rate is 'inf'; it must be a number above 0"),
        ({"image_size": 32}, "image_size is 32; it must be a multiple of 32 from 64 to 1024"),
        ({"image_size": 100}, "image_size is 100; it must be a multiple of 32 from 64 to 1024"),
        ({"image_size": 32 * 10**9}, "image_size is 32000000000; it must be a multiple of 32 from 64 to 1024"),
        ({"batch_size": 10**9}, "batch_size is 1000000000; it must be a whole number from 2 to 100000"),
        (
            {"data_root": "~nosuchuser/x"},
            "data_root is '~nosuchuser/x'; it must be the path of a folder, or of a file of features",
        ),
        ({"outputs_root": "x" * 300}, f"outputs_root is '{'x' * 300}'; it must be the path of a folder"),
        ({"outputs_root": "\udcff"}, "outputs_root is '\\udcff'; it must be the path of a folder"),
        ({"outputs_root": "a\0b"}, "outputs_root is 'a\\x00b'; it must be the path of a folder"),
        ({"run": 3}, "run is 3; it must be the folder of a trained run"),
        ({"frames": 1}, "frames is 1; it must be a whole number from 2 to 1000"),
        ({"seed": -1}, "seed is -1; it must be a whole number from 0 to 4294967295"),
        ({"resume": "perhaps"}, "resume is 'perhaps'; it must be true or false"),
        ({"dense_head": "maybe"}, "dense_head is 'maybe'; it must be true or false"),
        (
            {"pretrained": 3},
            "pretrained is 3; it must be none, frames, or the path of a checkpoint or of a folder of face images",
        ),
        ({"data_root": 3}, "data_root is 3; it must be the path of a folder, or of a file of features"),
    ],
)
def test_what_does_not_fit_is_refused_with_one_sentence(values, sentence):
    assert refusal(**values) == sentence


def test_what_does_not_fit_together_is_refused_with_one_sentence(monkeypatch):
    assert refusal(heads=3).startswith("heads is 3, which does not divide the attention width of fusion 'ia'")
    assert refusal(fusion="audio", heads=2).startswith("heads is 2, but fusion 'audio' has no attention")
    assert refusal(fusion="mult", heads=4).startswith("heads is 4, but fusion 'mult' has 5 heads by design")
    assert refusal(fusion="mult", dense_head=True).startswith("dense_head is true, but fusion 'mult' has a dense head")
    assert refusal(pretrained="/no/where.pth").startswith("pretrained is /no/where.pth, which is no file")
    assert refusal(protocol="authors") == "protocol is 'authors', which toy does not have; choose paper or mult"
    assert refusal(fold_scheme="own").startswith("fold_scheme is 'own', which toy does not have; choose paper or ")
    assert refusal(dataset="toy_mosei", fold_scheme="loso").endswith("does not have; choose own or groups")
    assert refusal(dataset="ravdess", data_root="/no/where").startswith("data_root is /no/where, which is no folder")
    monkeypatch.setattr("workbook.run.parameters._device", lambda: "cpu")
    assert refusal(device="cuda").startswith("device is 'cuda', but PyTorch finds no CUDA device")


def test_mult_has_its_own_heads_whether_they_are_given_or_not():
    for config in (Parameters(fusion="mult"), Parameters(fusion="mult", heads=5)):
        assert config.heads == 5
        assert ("heads", "5", "default") in config.rows()


def test_a_file_of_weights_is_found_from_the_workbook_and_may_be_none(tmp_path):
    weights = tmp_path / "weights.pth"
    weights.touch()
    assert Parameters(pretrained=str(weights)).pretrained == str(weights)
    assert Parameters(pretrained="README.md").pretrained == str(ROOT / "README.md")
    assert ("pretrained", "none", "dataset default") in Parameters().rows()


def test_auto_is_the_device_that_there_is(monkeypatch):
    monkeypatch.setattr("workbook.run.parameters._device", lambda: "cuda")
    assert Parameters().device == "cuda"
    assert Parameters(device="cpu").device == "cpu"


def test_the_table_of_parameters_says_where_each_value_came_from():
    config = Parameters(fusion="lt", frames=5)
    origins = {name: origin for name, _, origin in config.rows()}
    assert (origins["fusion"], origins["frames"]) == ("given", "given")
    assert (origins["epochs"], origins["data_root"]) == ("dataset default", "dataset default")
    assert (origins["dataset"], origins["outputs_root"], origins["heads"]) == ("default", "default", "default")
    assert "| fusion | `lt` | given |" in config._repr_markdown_()
    assert len(repr(config).splitlines()) == len(NAMES)


def test_the_guard_takes_the_values_of_the_parameters_cell_and_of_papermill():
    config = configure(notebook(CELL, '# Parameters\nfusion = "lt"\nlearning_rate = "4e-2"\n'))
    assert (config.fusion, config.learning_rate, config.heads) == ("lt", 0.04, 1)


@pytest.mark.parametrize(
    "cells", [(CELL, '# Parameters\nfuson = "ia"\n'), (CELL.replace("fusion", "fuson") + "heads = 1",)]
)
def test_the_guard_refuses_a_misspelt_name_wherever_it_stands(cells):
    with pytest.raises(InputError, match=r"^unknown parameter 'fuson': did you mean 'fusion'\?$"):
        configure(notebook(*cells))


def test_the_guard_runs_again_among_the_readers_own_variables():
    later = "fuson = 1\nframes = object()\nstore, classes = object(), 3\nfor fold_ in range(3): pass"
    namespace = notebook(CELL, "# Parameters\nfold = 2\n", later)
    namespace["In"].append("%time not python")
    assert configure(namespace) == configure(namespace)
    assert configure(namespace).frames == 6, "a parameter that the notebook does not declare is not read from it"
    assert configure(namespace).fold == 2


def test_the_guard_forgets_a_misspelling_that_was_mended():
    wrong = CELL.replace("fusion", "fuson") + "heads: int = 1\n"
    assert configure(notebook(wrong, CELL)).fusion == "ia"
    assert configure(notebook(CELL, '# Parameters\nfuson = "lt"\n', CELL)).fusion == "ia"


def test_the_guard_takes_a_value_that_was_changed_in_another_cell():
    assert configure(notebook(CELL, "fold = 3")).fold == 3


def test_the_guard_works_without_a_history():
    assert configure({"fusion": "it", "clips": 3}).fusion == "it"


def test_the_guard_shows_what_the_notebook_declares():
    cell = 'dataset = "toy"\nframes = 3\nimage_size = 64'
    config = configure({"In": ["", cell], "dataset": "toy", "frames": 3, "image_size": 64})
    shown = config._repr_markdown_().splitlines()[2:]
    assert [line.split(" | ")[0] for line in shown] == ["| dataset", "| image_size", "| frames"]
    assert config.fusion == "ia"
    assert {name for name, _, _ in config.rows()} == set(NAMES)


OWN = 'run: str = ""\ndata_root: str = ""\ndevice: str = "auto"\nbaseline: str = "mean"\ndraws: int = 3\n'


def own(*cells: str):
    namespace = notebook(OWN, *cells)
    return configure(namespace, baseline=("mean", "zeros"), draws=range(1, 101))


def test_a_notebook_may_have_parameters_of_its_own():
    shown = repr(own("# Parameters\nbaseline = 'zeros'\ndevice = 'cpu'"))
    assert "cpu" in shown and "baseline" not in shown


@pytest.mark.parametrize(
    "cell, sentence",
    [
        ("baseline = 'zero'", "baseline is 'zero'; choose one of mean, zeros: did you mean 'zeros'?"),
        ("draws = 0", "draws is 0; it must be a whole number from 1 to 100"),
        ("draws = '3'", "draws is '3'; it must be a whole number from 1 to 100"),
        ("draws = True", "draws is True; it must be a whole number from 1 to 100"),
        ("drows = 3", "unknown parameter 'drows': did you mean 'draws'?"),
    ],
)
def test_a_wrong_value_of_a_notebooks_own_parameter_is_one_sentence(cell, sentence):
    with pytest.raises(InputError) as refused:
        own(f"# Parameters\n{cell}")
    assert str(refused.value) == sentence
