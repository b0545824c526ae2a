"""Bars that move: what stands on them, and where they are shown."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from workbook import ROOT, progress
from workbook.progress import TrainingBar, progress_bar


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is told the time."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def drawings(text):
    """The states of the bar, one after the other, without the empty ones."""
    return [state.rstrip() for state in re.split(r"[\r\n]", text) if state.strip()]


def test_a_bar_of_training_shows_epoch_batch_loss_and_the_time_that_all_epochs_take(capsys, clock, monkeypatch):
    monkeypatch.setattr(progress, "progress_bar", lambda *a, **k: progress_bar(*a, **k | {"mininterval": 0}))
    bar = TrainingBar(epochs=3)
    for epoch in (1, 2):
        for batch in range(1, 6):
            clock[0] += 2
            bar.batch(batch, 5, 1 / batch)
        clock[0] += 5  # validation
        bar.epoch({"epoch": epoch})
    sent = capsys.readouterr().err
    states = drawings(sent)
    assert re.fullmatch(r"epoch 1 of 3  40%\|.{24}\| batch 2 of 5, loss 0\.500, 00:26 left", states[2])
    assert "epoch 2 of 3  60%" in states[-3] and "batch 3 of 5, loss 0.333, 00:18 left" in states[-3]
    assert sent.endswith("\r")  # wiped away


def test_epochs_of_an_interrupted_training_take_no_time_of_this_one(capsys, clock):
    bar = TrainingBar(epochs=4)
    for epoch in (1, 2, 3):
        bar.epoch({"epoch": epoch})
    clock[0] = 10
    bar.batch(1, 5, 2.0)
    assert "epoch 4 of 4" in capsys.readouterr().err
    assert bar.bar.postfix == "loss 2.000, 00:40 left"


def test_bars_go_to_stdout_in_a_notebook_where_stderr_is_red(tmp_path):
    cells = [
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom workbook.progress import progress_bar",
        "with progress_bar(3, 'clips') as bar:\n    bar.update(3)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    assert {output.name for output in notebook.cells[1].outputs} == {"stdout"}
    assert "clips: 100%" in "".join(output.text for output in notebook.cells[1].outputs)


def test_training_moves_the_bar(tiny_store, tmp_path, capsys):
    from avlib import build_model
    from workbook.train.batches import splits
    from workbook.train.training import fit

    clips = splits(tiny_store, 0, 8, ("audio",), fold_scheme="loso")
    bar = TrainingBar(epochs=2)
    settings = {"dropout": "none", "epochs": 2, "batch_size": 16, "learning_rate": 0.01, "seed": 1}
    for row in fit(build_model("audio"), clips["train"], clips["validation"], tmp_path, progress=bar.batch, **settings):
        bar.epoch(row)
    sent = capsys.readouterr().err
    assert "epoch 1 of 2" in sent and "epoch 2 of 2" in sent and sent.endswith("\r")
    assert bar.finished == 2 and bar.bar is None
