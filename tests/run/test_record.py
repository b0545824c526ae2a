"""Damaged records: whatever a file of a run holds, others read one sentence and go on with the other runs."""

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from drawn_predictions import predictions
from sweeps import finished_run

from workbook import InputError
from workbook.cli import main
from workbook.run.parameters import Parameters
from workbook.run.record import read_predictions, read_record
from workbook.run.reopen import find_run, open_trained, trained_runs
from workbook.run.report import sections
from workbook.run.results import all_runs, comparison, result_table
from workbook.run.run_folder import check_same_run
from workbook.sweep.notebooks import listing

DEEP = "[" * 100_000
VALUES = {  # in place of the value with this name; dots lead into it
    "parameters": [None, {"dataset": "toy"}],
    "parameters.dataset": ["elsewhere", ["toy"], "\x1b[31m"],
    "parameters.epochs": [0, "3", 10**30, True],
    "parameters.learning_rate": [float("nan"), 10**400],
    "parameters.unknown": [1],
    "network": [{"classes": [8]}, {"classes": 10**12}],
    "labels": [[], [["happy"]]],
    "fingerprint": [None],
    "state": ["asleep"],
    "seconds": [{"train": "long"}, {"train": -1}],
}
FORMS = [(name, value) for name, values in VALUES.items() for value in values]
FILES = {
    "latin": '{"parameters": "é"}'.encode("latin-1"),
    "deep": DEEP.encode(),
    "half": b'{"parameters": {"dataset": "to',
    "surrogate": b'{"parameters": {"dataset": "\\ud800"}}',
    "large": b" " * 5_000_000,
}


@pytest.fixture
def good(tmp_path) -> Path:
    """The folder of an evaluated run, below tmp_path."""
    folder = finished_run(tmp_path, {"AV": 90, "A": 60, "V": 30})
    (folder / "model.safetensors").touch()
    return folder


@pytest.fixture
def damaged(tmp_path) -> Path:
    """The folder of a trained run that nobody has damaged yet."""
    folder = finished_run(tmp_path, {"AV": 50}, seed=2)
    (folder / "model.safetensors").touch()
    (folder / "history.csv").write_text("epoch\n" + "1\n" * 14)
    return folder


def all_readers_go_on(good: Path, damaged: Path, root: Path) -> None:
    """Whatever looks at all runs shows the good one; whatever opens the damaged one refuses it in a sentence."""
    states = all_runs(root).set_index("folder")["state"]
    assert states[str(good)] == "done" and states[str(damaged)].startswith("damaged: ")
    assert "\n" not in states[str(damaged)] and len(states[str(damaged)]) < 1000
    table = result_table(all_runs(root))
    assert table["AV"].tolist() == [90, 100]
    assert comparison(all_runs(root), root / "figures").exists()
    for command in ("table", "runs"):
        ended = CliRunner().invoke(main, [command, str(root)])
        assert ended.exit_code == 0 and "90.0" in ended.output and "damaged: " in ended.output, ended.exception
    with pytest.raises(InputError, match=r"is damaged|no file of a run"):
        read_record(damaged)
    refused = CliRunner().invoke(main, ["predict", "x.wav", "--run", str(damaged)])
    assert refused.exit_code == 2 and refused.output.count("\n") == 1
    for refuse in (find_run, open_trained, lambda folder: check_same_run(Parameters(outputs_root=str(root), seed=2))):
        with pytest.raises(InputError):
            refuse(damaged)
    assert trained_runs(root) == []  # the good one has no epochs


def change(folder: Path, name: str, value) -> None:
    record = json.loads((folder / "run.json").read_text())
    *way, last = name.split(".")
    place = record
    for step in way:
        place = place[step]
    place[last] = value
    (folder / "run.json").write_text(json.dumps(record))


def test_a_damaged_value_is_one_line_and_hides_no_other_run(good, damaged, tmp_path):
    whole = (damaged / "run.json").read_bytes()
    for name, value in FORMS:
        (damaged / "run.json").write_bytes(whole)
        assert read_record(damaged)
        change(damaged, name, value)
        with pytest.raises(InputError) as refused:
            read_record(damaged)
        sentence = str(refused.value)
        assert sentence.startswith(f"{damaged / 'run.json'} is damaged ({name.partition('.')[0]}"), (name, value)
        assert "\n" not in sentence and len(sentence) < 1000 and sentence.isprintable(), (name, value)
        states = all_runs(tmp_path).set_index("folder")["state"]
        assert states[str(good)] == "done" and states[str(damaged)] == f"damaged: {sentence}", (name, value)


def test_all_commands_go_on_beside_a_damaged_value(good, damaged, tmp_path):
    change(damaged, "parameters.dataset", ["toy"])
    all_readers_go_on(good, damaged, tmp_path)
    (damaged / "predictions.parquet").touch()
    predictions((1, 0.5, 0.5)).to_parquet(good / "predictions.parquet")
    assert [section.runs["folder"].tolist() for section in sections(tmp_path)] == [[str(good)]]


@pytest.mark.parametrize("form", FILES)
def test_another_file_in_place_of_a_record_is_one_line(good, damaged, tmp_path, form):
    (damaged / "run.json").write_bytes(FILES[form])
    all_readers_go_on(good, damaged, tmp_path)


@pytest.mark.parametrize("content", ["", '{"conditions": {"AV": {"accuracy": "x"}}, "M": {}}'])
def test_damaged_metrics_are_one_line(good, damaged, tmp_path, content):
    (damaged / "metrics.json").write_text(content)
    states = all_runs(tmp_path).set_index("folder")["state"]
    assert states[str(good)] == "done" and states[str(damaged)].endswith("): evaluate the run again")
    assert result_table(all_runs(tmp_path))["AV"].tolist() == [90, 100]


def test_a_damaged_log_or_history_stops_nobody(good, damaged, tmp_path):
    for name in ("run.log", "history.csv"):
        (damaged / name).write_bytes(b"epoch\n\xff\n")
    (damaged / "run.json").unlink()
    assert all_runs(tmp_path).set_index("folder")["state"][str(good)] == "done"
    lines = listing([Parameters(outputs_root=str(tmp_path), seed=2)], jobs=1).splitlines()
    assert lines[0].endswith("evaluate, attention to be done")


def test_a_run_of_a_fusion_that_a_notebook_defines_is_listed_elsewhere(good, tmp_path):
    change(good, "parameters.fusion", "of_my_own")
    assert all_runs(tmp_path)["state"].tolist() == ["done"]


@pytest.mark.parametrize("form", ["nothing", "text", "another table"])
def test_damaged_predictions_are_one_line(good, form):
    path = good / "predictions.parquet"
    if form == "text":
        path.write_text("PAR1 or not")
    elif form == "another table":
        pd.DataFrame({"clip": ["a"], "p0": [1.0]}).to_parquet(path)
    with pytest.raises(InputError, match=r"predictions.parquet is missing or damaged: evaluate.ipynb makes it$"):
        read_predictions(good)
