"""Grids of runs: what a file and `-p` make, and what is refused before anything starts."""

from pathlib import Path

import pytest
from click.testing import CliRunner

import workbook
from workbook import InputError
from workbook.cli import main
from workbook.run.parameters import Parameters
from workbook.sweep.grid import cut, expand, plan, read_grids


def test_lists_make_a_grid_whose_first_name_changes_slowest():
    grid = {"fusion": ["lt", "ia"], "heads": 1, "fold": [0, 1, 2]}
    assert [(run["fusion"], run["heads"], run["fold"]) for run in expand(grid)] == [
        ("lt", 1, 0), ("lt", 1, 1), ("lt", 1, 2), ("ia", 1, 0), ("ia", 1, 1), ("ia", 1, 2),
    ]  # fmt: skip
    assert expand({"fusion": "ia"}) == [{"fusion": "ia"}]


PARTS = [{"fusion": ["lt", "ia"], "heads": [1, 4], "fold": [0, 1]}, {"fusion": ["tav"], "heads": 1, "fold": [0, 1]}]


@pytest.mark.parametrize(
    ("values", "systems"),
    [
        ({"fusion": "ia", "heads": 1}, ["ia1"]),
        ({"heads": 1}, ["lt1", "ia1", "tav1"]),
        ({"fusion": "concat"}, ["concat1", "concat4", "concat1"]),
        ({"fusion": ["ia", "concat"], "heads": 4}, ["ia4", "concat4"]),
    ],
)
def test_a_given_value_keeps_the_parts_that_list_it_and_a_new_one_is_set_in_all(values, systems):
    runs = expand(cut(PARTS, values | {"fold": 0, "epochs": 5}))
    assert [f"{run['fusion']}{run['heads']}" for run in runs] == systems
    assert {(run["fold"], run["epochs"]) for run in runs} == {(0, 5)}


def test_runs_that_a_given_value_makes_the_same_count_once(tmp_path):
    file, values = workbook.ROOT / "params" / "toy_table.yaml", {"outputs_root": str(tmp_path), "dropout": "none"}
    assert len(plan(read_grids(file), values)) == 9
    assert len(plan(read_grids(file), values | {"fusion": "ia"})) == 2
    assert len(plan(read_grids(file), values | {"fusion": "concat", "heads": 1})) == 1
    with pytest.raises(InputError, match="no part of the grid has fusion tav and heads 4 together"):
        plan(read_grids(file), {"fusion": "tav", "heads": 4})


@pytest.mark.parametrize(
    ("grid", "sentence"),
    [
        ({"fold": [0, 9]}, "fold is 9"),
        ({"fold": []}, "the grid holds no run"),
        ({"learning_rate": [0.1, "1e-1"]}, "the grid holds the run .*toy/ia1-softhard-lr0.1/fold0-seed1 twice"),
        ({"fuson": ["ia", "lt"]}, "unknown parameter 'fuson'"),
        (
            {"dataset": ["toy_mosei", "mosei"], "data_root": "/nowhere"},
            "data_root is /nowhere, which is no file or folder",
        ),
        ({"dataset": "features", "data_root": "/nowhere.npz"}, "data_root is /nowhere.npz, which is no file"),
        ({"dataset": "ravdess", "data_root": str(Path(__file__).parent)}, "tests.sweep holds no speech clip"),
    ],
)
def test_a_grid_is_refused_before_any_of_its_runs(grid, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        plan(grid | {"outputs_root": str(tmp_path / "runs")})
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "params.yaml: No such file"),
        (b"\xff\xfe\x00", "cannot be read: "),
        (b"", "holds no parameters"),
        (b"fuson: ia\n", "unknown parameter 'fuson': did you mean 'fusion'?"),
        (b"seed: 010\n", "seed is 010; it should be a number, without a 0 in front"),
        (b"dropout: no\n", "dropout is 'no'; choose one of none, "),
        (b"fold: 1\nseed: 2\nfold: 3\n", "line 3: fold is there twice; remove one, or give a list of values"),
        (b"seed: [[1, 2], [3]]\n", "seed is [1, 2]; it should be a valid integer"),
        pytest.param(b"seed: " + b"[" * 5000 + b"]" * 5000, "cannot be read", id="deep"),
        (b"seed: !!python/object:os.system 1\n", "could not determine a constructor"),
    ],
)
def test_a_bad_file_of_parameters_is_refused_in_one_line(content, sentence, tmp_path):
    file = tmp_path / "params.yaml"
    if content is not None:
        file.write_bytes(content)
    ended = CliRunner().invoke(main, ["run", str(file)])
    assert ended.exit_code == 2
    assert ended.output.startswith("Error: ")
    assert sentence in ended.output
    assert ended.output.count("\n") == 1


def test_a_file_is_read_as_it_looks(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text("learning_rate: [1e-2, .5, 0.06]\nresume: no\nheads: 1\ndense_head: true\ndata_root: 2024\n")
    (grid,) = read_grids(file)
    assert [*grid.values()] == [[0.01, 0.5, 0.06], "no", 1, True, 2024]
    assert Parameters(resume=grid["resume"]).resume is False


@pytest.mark.parametrize("value", ["None", "null", ""])
@pytest.mark.parametrize("form", ["-p", "file"])
def test_no_value_is_refused_alike_in_a_file_and_on_the_command_line(form, value, tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(f"fusion: ia\ndropout: {value}\n" if form == "file" else "fusion: ia\n")
    ended = CliRunner().invoke(main, ["run", str(file), *(["-p", "dropout", value] if form == "-p" else [])])
    assert ended.exit_code == 2
    assert ended.output.endswith("; leave it out for its default, or write none\n")
