import io
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from conftest import data

import workbook
from workbook import InputError
from workbook.cli import main
from workbook.data.datasets import DATASETS
from workbook.files import write_json
from workbook.run.parameters import NAMES, Parameters
from workbook.run.run_folder import start_run
from workbook.sweep import notebooks as pipeline
from workbook.sweep.grid import cut, expand, plan, read_grids
from workbook.sweep.notebooks import Lines, RunFailed, run_pipeline

PARAMETERS = 'fusion: str = "ia"\nfold: int = 0\noutputs_root: str = ""'
GUARD = "from workbook.run import configure\n\nconfig = configure(globals())"


def write_notebook(path, *cells):
    """A notebook with a parameters cell and these cells."""
    cells = [nbformat.v4.new_code_cell(cell) for cell in (PARAMETERS, *cells)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A folder in the place of the workbook, into whose notebooks/ a test writes its own."""
    monkeypatch.setattr(pipeline, "ROOT", tmp_path)
    return tmp_path


def finished_run(root, accuracy, seconds=90, **values):
    """The folder of an evaluated run with these accuracies of AV, A and V."""
    with start_run(Parameters(outputs_root=str(root), **values), data("abc")) as run:
        pass
    write_json(run.folder / "run.json", run.record | {"seconds": {"train": seconds, "evaluate": 30}})
    conditions = {name: {"accuracy": value} for name, value in accuracy.items()}
    mean = sum(accuracy.values()) / len(accuracy)
    write_json(run.folder / "metrics.json", {"conditions": conditions, "M": {"accuracy": mean}})
    return run.folder


def test_lists_make_a_grid_whose_first_name_changes_slowest():
    grid = {"fusion": ["lt", "ia"], "heads": 1, "fold": [0, 1, 2]}
    assert [(run["fusion"], run["heads"], run["fold"]) for run in expand(grid)] == [
        ("lt", 1, 0), ("lt", 1, 1), ("lt", 1, 2), ("ia", 1, 0), ("ia", 1, 1), ("ia", 1, 2),
    ]  # fmt: skip
    assert expand({"fusion": "ia"}) == [{"fusion": "ia"}]


PARTS = [{"fusion": ["lt", "ia"], "heads": [1, 4], "fold": [0, 1]}, {"fusion": ["tav"], "heads": 1, "fold": [0, 1]}]


@pytest.mark.parametrize(
    ("given", "systems"),
    [
        ({"fusion": "ia", "heads": 1}, ["ia1"]),
        ({"heads": 1}, ["lt1", "ia1", "tav1"]),
        ({"fusion": ["ia", "tav"], "heads": 1}, ["ia1", "tav1"]),
        ({"fusion": "concat"}, ["concat1", "concat4", "concat1"]),
        ({"fusion": ["ia", "concat"], "heads": 4}, ["ia4", "concat4"]),
        ({"heads": 2}, ["lt2", "ia2", "tav2"]),
    ],
)
def test_a_given_value_keeps_the_parts_that_list_it_and_a_new_one_is_set_in_all(given, systems):
    runs = expand(cut(PARTS, given | {"fold": 0, "epochs": 5}))
    assert [f"{run['fusion']}{run['heads']}" for run in runs] == systems
    assert {(run["fold"], run["epochs"]) for run in runs} == {(0, 5)}


def test_runs_that_a_given_value_makes_the_same_count_once(tmp_path):
    file, given = workbook.ROOT / "params" / "toy_table.yaml", {"outputs_root": str(tmp_path), "dropout": "none"}
    assert len(plan(read_grids(file), given)) == 9
    assert len(plan(read_grids(file), given | {"fusion": "ia"})) == 2
    assert len(plan(read_grids(file), given | {"fusion": "concat", "heads": 1})) == 1
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
        ({"dataset": "features", "data_root": __file__}, "give the path of an .npz"),
        ({"dataset": "ravdess", "data_root": str(Path(__file__).parent)}, "tests.sweep holds no speech clip"),
    ],
)
def test_a_grid_is_refused_before_any_of_its_runs(grid, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        plan(grid | {"outputs_root": str(tmp_path / "runs")})
    assert not (tmp_path / "runs").exists()


def test_a_stream_is_handed_on_in_whole_lines():
    lines = []
    stream = Lines(lines.append)
    for text in ("epoch", " 1\nepoch 2\n\n", "10%\r50%\r99%", "\r100%\r\n", "the end"):
        stream.write(text)
    assert lines == ["epoch 1", "epoch 2", "", "100%"]
    stream.close()
    assert lines[-1] == "the end"


def test_a_bar_moves_in_the_terminal_and_leaves_its_last_state():
    lines, terminal = [], io.StringIO()
    stream = Lines(lines.append, terminal)
    for text in ("\r10%", "\r50%", "\r99%", "\r   \r", "epoch 1\n"):
        stream.write(text)
    assert terminal.getvalue() == "\r  10%\r\r  50%\r\r  99%\r\r     \r"
    assert lines == ["epoch 1"]


def test_a_notebook_runs_in_this_interpreter_whatever_kernel_is_registered(book, monkeypatch):
    other = book / "jupyter" / "kernels" / "python3"
    other.mkdir(parents=True)
    spec = {"argv": ["/usr/bin/false", "{connection_file}"], "display_name": "other", "language": "python"}
    (other / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(book / "jupyter"))
    write_notebook(book / "notebooks" / "first.ipynb", "import sys\nprint(sys.executable, fusion, fold)")
    write_notebook(book / "notebooks" / "second.ipynb", "print('second')\nfrom workbook import InputError",
                   "raise InputError('one sentence')", "print('never')")  # fmt: skip
    lines = []
    with pytest.raises(InputError, match=r"^one sentence$"):
        run_pipeline(
            {"fusion": "it", "fold": "2", "seed": 3, "outputs_root": str(book / "runs {a}")},
            notebooks=("first", "second"),
            echo=lines.append,
        )
    folder = book / "runs {a}/toy/it1-softhard/fold2-seed3"
    assert [line for line in lines if line.startswith("  ")] == [f"  {sys.executable} it 2", "  second"]
    assert {path.name for path in folder.iterdir()} == {"first.ipynb", "second.ipynb"}, "kept to be looked at"
    injected = nbformat.read(folder / "first.ipynb", as_version=4).cells[1].source
    assert "seed" not in injected, "a notebook gets the parameters that it declares"


def test_a_notebook_that_breaks_says_where(book):
    write_notebook(book / "notebooks" / "train.ipynb", "total = 3", "total / 0")
    with pytest.raises(RunFailed, match=r"^train.ipynb stopped in cell \[4\] with ZeroDivisionError: .*train.ipynb$"):
        run_pipeline({"outputs_root": str(book / "runs")}, notebooks=("train",))


def test_nothing_is_written_where_a_run_may_not_start(book):
    with pytest.raises(InputError, match="fold is 9"):
        run_pipeline({"fold": 9, "outputs_root": str(book / "runs")}, notebooks=("train",))
    assert not (book / "runs").exists()
    folder = finished_run(book / "runs", {"AV": 50}, epochs=20)
    folder = folder.parent.rename(folder.parents[1] / "ia1-softhard") / folder.name  # as older runs were named
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    with pytest.raises(InputError, match="epochs 20, not 14"):
        run_pipeline({"outputs_root": str(book / "runs")}, notebooks=("train",))
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_papermill_stops_at_a_misspelt_parameter_with_one_sentence_and_no_run_folder(tmp_path):
    write_notebook(
        tmp_path / "guard.ipynb",
        GUARD,
        "from workbook.run.run_folder import start_run\nstart_run(config, 0).__enter__()",
    )
    command = [sys.executable, "-m", "papermill", "guard.ipynb", "out.ipynb", "-p", "outputs_root", f"{tmp_path}/runs"]
    ended = subprocess.run([*command, "-p", "fuson", "ia"], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode != 0
    last = [line for line in ended.stderr.splitlines() if line.strip()][-2:]
    assert last[0].startswith("Exception encountered at")
    assert last[1] == "InputError: unknown parameter 'fuson': did you mean 'fusion'?"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read: No such file"),
        (b"\xff\xfe\x00", "is not YAML: "),
        (b"", "holds no parameters"),
        (b"- fusion\n", "holds no parameters"),
        (b"fusion: ia\n  heads: [1\n", "line 2"),
        (b"fuson: ia\n", "unknown parameter 'fuson': did you mean 'fusion'?"),
        (b"heads: 3\n", "heads is 3, which does not divide"),
        (b"fold: 2026-13-45\n", "month must be in 1..12"),
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


def test_the_list_of_parameters_names_them_all():
    listed = CliRunner().invoke(main, ["parameters"])
    assert [line.split()[0] for line in listed.output.splitlines()[: len(NAMES)]] == list(NAMES)
    own = [line.split() for line in listed.output.splitlines()[-len(DATASETS) :]]
    assert [row[0] for row in own] == list(DATASETS)
    assert {len(row) for row in own} == {1 + len(DATASETS["toy"].defaults)}


def test_the_command_starts_without_importing_torch_or_papermill():
    code = "import sys, workbook.cli; print({'torch', 'papermill', 'pandas'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
