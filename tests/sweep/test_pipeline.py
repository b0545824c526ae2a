"""The notebooks of one run: in this interpreter, in whole lines, and an error as one sentence."""

import io
import json
import os
import subprocess
import sys

import nbformat
import pytest
from click.testing import CliRunner

from workbook import InputError
from workbook.cli import main
from workbook.run.parameters import Parameters
from workbook.sweep import notebooks as pipeline
from workbook.sweep.notebooks import Lines, RunFailed, run_pipeline

PARAMETERS = 'fusion: str = "ia"\nfold: int = 0\noutputs_root: str = ""'


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


@pytest.fixture
def config(book):
    """Makes parameters of a run that is kept in that folder."""
    return lambda **values: Parameters(outputs_root=str(book / "runs"), **values)


def test_lines_are_passed_on_whole_and_a_bar_moves_in_the_terminal_alone():
    lines, terminal = [], io.StringIO()
    stream = Lines(lines.append, terminal)
    for text in ("epoch", " 1\nepoch 2\n\n", "\r10%", "\r50%", "\r99%", "\r   \r", "epoch 3\n", "the end"):
        stream.write(text)
    assert lines == ["  epoch 1", "  epoch 2", "  ", "  epoch 3"]
    assert terminal.getvalue() == "\r  10%\r\r  50%\r\r  99%\r\r     \r"
    stream.close()
    assert lines[-1] == "  the end"
    stream.write("\r   \r")
    stream.close()
    assert lines[-1] == "  the end", "a bar that is removed at the end is no line"
    stream.write("\r\x1b]0;owned\x07")
    assert "\x1b" not in terminal.getvalue()


def test_a_notebook_runs_in_this_interpreter_whatever_kernel_is_registered(book, config, monkeypatch):
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
        run_pipeline(config(fusion="it", fold="2", seed=3), notebooks=("first", "second"), echo=lines.append)
    folder = book / "runs/toy/it1-softhard/fold2-seed3"
    assert [line for line in lines if line.startswith("  ")] == [f"  {sys.executable} it 2", "  second"]
    assert {path.name for path in folder.iterdir()} == {"first.ipynb", "second.ipynb"}, "kept to be looked at"
    injected = nbformat.read(folder / "first.ipynb", as_version=4).cells[1].source
    assert "seed" not in injected, "a notebook gets the parameters that it declares"


def test_a_notebook_that_breaks_says_where(book, config):
    write_notebook(book / "notebooks" / "train.ipynb", "total = 3", "total / 0")
    with pytest.raises(RunFailed, match=r"^train.ipynb stopped in cell \[4\] with ZeroDivisionError: .*train.ipynb$"):
        run_pipeline(config(), notebooks=("train",))


def test_nothing_is_written_where_a_run_may_not_start(book, config):
    with pytest.raises(InputError, match="pretrained is /nowhere, which is no file or folder"):
        run_pipeline(config(pretrained="/nowhere"), notebooks=("train",))
    assert not (book / "runs").exists()


@pytest.mark.parametrize("place", [os.link, os.symlink])
def test_a_run_never_writes_over_a_source_notebook_or_through_a_link(book, config, place):
    source = book / "notebooks" / "train.ipynb"
    write_notebook(source, "1 + 1")
    before = source.read_bytes()
    folder = book / "runs/toy/ia1-softhard/fold0-seed1"
    folder.mkdir(parents=True)
    place(source, folder / "train.ipynb"), place(source, folder / "run.log")
    with pytest.raises(InputError, match=r"train.ipynb is (a link|an input of this command)"):
        run_pipeline(config(), notebooks=("train",))
    assert source.read_bytes() == before


def test_the_command_starts_without_importing_torch_or_papermill():
    code = "import sys, workbook.cli; print({'torch', 'papermill', 'pandas'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


WITH_PATHS = [
    *("table {}", "run {}", "run params/smoke.yaml --dry-run -p outputs_root {}"),
    *("predict {} --run x", "predict x.wav --run {}", "download ravdess --to {}"),
]


@pytest.mark.parametrize("command", WITH_PATHS)
def test_a_path_that_no_file_can_have_is_one_line_in_every_command(command):
    ended = CliRunner().invoke(main, ["x" * 300 if word == "{}" else word for word in command.split()])
    assert ended.exit_code == 2 and ended.output.startswith("Error: ") and ended.output.count("\n") == 1, ended.output
