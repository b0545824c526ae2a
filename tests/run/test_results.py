"""The list of all runs, their result table, and the comparison."""

import json
import re

import pandas as pd
import pytest
from click.testing import CliRunner
from drawn_predictions import predictions
from smoke_runs import data
from sweeps import finished_run

from workbook import InputError
from workbook.cli import main
from workbook.files import write_json
from workbook.run.parameters import Parameters
from workbook.run.results import (
    accuracies,
    all_runs,
    comparison,
    dropout_pair,
    dropout_sentence,
    lifts_of_runs,
    result_table,
    runs_in,
    where,
)
from workbook.run.run_folder import start_run


def test_the_result_table_has_a_row_per_run_and_what_is_best_reachable(tmp_path):
    finished_run(tmp_path, {"AV": 90, "A": 60, "V": 30}, dropout="none", epochs=3, fold=2, seed=5)
    finished_run(tmp_path, {"A": 55}, fusion="audio", dropout="none")
    with start_run(Parameters(outputs_root=str(tmp_path), fusion="lt"), data("unfinished")):
        pass
    table = result_table(all_runs(tmp_path))
    assert table["system"].tolist() == ["audio", "IA1", "best reachable"]
    run = table.iloc[1]
    assert (run["AV"], run["A"], run["V"], run["M"]) == (90, 60, 30, 60)
    assert (run["dropout"], run["fold"], run["seed"], run["epochs"], run["minutes"]) == ("none", 2, 5, 3, 2.0)
    assert pd.isna(table.loc[0, "AV"])
    best = table.iloc[2]
    assert (best["AV"], best["A"], best["V"], best["M"]) == (100, 62.5, 62.5, 75)


def test_a_corpus_that_needs_an_exchange_has_a_row_for_what_is_expected_without(tmp_path):
    folder = finished_run(tmp_path, {"AV": 90, "A": 20, "V": 30}, dataset="toy_speaker_features")
    table = result_table(runs_in([folder])).set_index("system")
    assert table.index.tolist() == ["IA1", "best reachable", "expected without an exchange"]
    assert table.loc["best reachable", ["AV", "A", "V"]].tolist() == pytest.approx([100, 25, 100 / 3])
    assert table.loc["expected without an exchange", "AV"] == pytest.approx(100 / 3)
    assert table.loc["expected without an exchange", ["A", "V", "M"]].isna().all()
    assert comparison(runs_in([folder]), tmp_path).exists()


def test_runs_that_are_not_finished_are_named_below_the_table(tmp_path):
    finished_run(tmp_path, {"AV": 90})
    with pytest.raises(ZeroDivisionError), start_run(Parameters(outputs_root=str(tmp_path), seed=4), data("abc")):
        raise ZeroDivisionError("at once")
    with start_run(Parameters(outputs_root=str(tmp_path), seed=5), data("abc")) as only_trained:
        pass
    table = result_table(all_runs(tmp_path))
    assert table["seed"].dropna().tolist() == [1] and table["AV"].tolist() == [90, 100]
    listed = CliRunner().invoke(main, ["table", str(tmp_path)]).output
    for line in (
        "failed: ZeroDivisionError: at once",
        f"{only_trained.folder}: trained, not evaluated",
    ):
        assert line in listed


def test_unusual_settings_have_a_column_and_tell_the_runs_of_a_comparison_apart(tmp_path):
    folders = [finished_run(tmp_path, {"AV": 90, "A": 50}, learning_rate=rate, epochs=3) for rate in (0.01, 0.06)]
    table = result_table(runs_in(folders))
    assert table["settings"].tolist() == ["epochs3 lr0.01", "epochs3", ""]
    assert table["system"].tolist() == ["IA1", "IA1", "best reachable"]
    assert set(accuracies(table[:2])["dropout"]) == {"epochs3 lr0.01", "epochs3"}
    assert "data" not in table
    assert "settings" not in result_table(runs_in([finished_run(tmp_path, {"AV": 90})]))


def test_the_comparison_is_a_figure_and_a_table(tmp_path):
    folders = [
        finished_run(tmp_path, {"AV": 92, "A": 25, "V": 41}, dropout="none"),
        finished_run(tmp_path, {"AV": 94, "A": 61, "V": 58}, dropout="softhard"),
    ]
    figure = comparison(runs_in(folders), tmp_path / "toy")
    assert figure.read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(tmp_path / "toy" / "comparison.csv")
    assert table["AV"].tolist() == [92, 94, 100]


def test_a_run_is_compared_with_the_one_that_differs_in_dropout_alone(tmp_path, monkeypatch):
    folders = {}
    for dropout, seed, fusion in (("none", 1, "ia"), ("softhard", 1, "ia"), ("none", 2, "ia"), ("none", 1, "lt")):
        folder = finished_run(tmp_path, {"AV": 90}, dropout=dropout, seed=seed, fusion=fusion)
        table = predictions([1.0 if dropout == "none" else 0.0], conditions=["AV"])
        table.to_parquet(folder / "predictions.parquet")
        folders[dropout, seed, fusion] = folder
    for dropout in ("none", "softhard"):
        pair = dropout_pair(folders[dropout, 1, "ia"])
        assert pair["dropout"].tolist() == ["none", "softhard"] and pair["seed"].tolist() == [1, 1]
    assert dropout_sentence(pair).startswith("**-100.0** in AV: points gained with softhard over none. **0.125** is")
    monkeypatch.setattr("workbook.run.parameters.DATA", tmp_path / "elsewhere")  # the corpora have moved
    assert len(dropout_pair(folders["none", 1, "ia"])) == 2
    alone = dropout_pair(folders["none", 2, "ia"])
    assert alone.empty and "trains such a pair" in dropout_sentence(alone)


def test_the_lifts_of_all_runs_stand_in_one_table_the_highest_first(tmp_path):
    for name, lifts in {"toy/ia1-none": (0.5, 0.7), "toy_speaker/ia1-none": (2.0, 4.0)}.items():
        folder = tmp_path / name / "fold0-seed1"
        folder.mkdir(parents=True)
        table = pd.DataFrame({"clip": ["a", "b"], "modality": "video", "lift": lifts, "lift_elsewhere": 1.0})
        table.to_csv(folder / "attention_shares.csv", index=False)
    table = lifts_of_runs(tmp_path)
    assert table["run"].tolist() == ["toy_speaker/ia1-none/fold0-seed1", "toy/ia1-none/fold0-seed1"]
    assert table["lift"].tolist() == pytest.approx([3.0, 0.6])


def test_runs_fulfil_a_condition_and_a_bad_one_is_a_sentence(tmp_path):
    for fusion in ("audio", "video"):
        finished_run(tmp_path, {"AV": 50}, fusion=fusion)
    runs = all_runs(tmp_path)
    assert where(runs, "fusion == 'audio' and AV >= 0")["fusion"].tolist() == ["audio"]
    assert (runs["seconds"] > 0).all() and set(runs["commit"].str.len()) <= {0, 7, 8}
    for bad in ("fuson == 'ia'", "fusion = 'ia'", "AV + 1", "(", "1"):
        ended = CliRunner().invoke(main, ["runs", str(tmp_path), "--where", bad])
        assert ended.exit_code == 2 and ended.output.startswith(f"Error: {bad!r} is no condition on runs (")
        assert ended.output.count("\n") == 1
    listed = CliRunner().invoke(main, ["runs", str(tmp_path), "--where", "fusion == 'video'"]).output
    assert len(listed.splitlines()) == 2 and listed.splitlines()[1].endswith("done")


def log_of_a_run(root, *lines):
    folder = root / "toy" / "ia1-none" / "fold0-seed1"
    folder.mkdir(parents=True)
    (folder / "run.log").write_text("\n".join(lines), encoding="utf-8")


def test_a_run_that_was_killed_before_training_is_interrupted(tmp_path):
    log_of_a_run(tmp_path, "2026-01-02, process 1 on lab", "preprocess: preprocess.ipynb", "  clips to arrays:  50%")
    assert all_runs(tmp_path)["state"].tolist() == ["interrupted"]


def test_a_terminal_that_lacks_a_character_shows_its_code(tmp_path):
    log_of_a_run(tmp_path, "failed: █")
    shown = CliRunner(charset="cp1252").invoke(main, ["table", str(tmp_path)])
    assert shown.output.endswith("failed: \\u2588\n"), shown.exception


@pytest.fixture(scope="module")
def three_runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    for seed in (1, 2, 3):
        finished_run(folder, {"AV": 50}, seed=seed)
    return all_runs(folder)


@pytest.mark.parametrize(
    "attack",
    [
        "@pd.io.common.os.system('touch {}')",
        "fusion == 'no' and [open(name, 'w') for name in ['{}']]",
        "folder.__class__ == 'x'",
        "fusion == f'{{open(chr(47))}}'",
        "seed == 9 ** 9 ** 9",
        "fusion\n== 'ia'; import os",
        "(" * 5000,
        "AV",
        "",
    ],
)
def test_a_condition_is_read_and_never_executed(three_runs, tmp_path, attack):
    bad = attack.format(tmp_path / "executed")
    with pytest.raises(InputError, match="is no condition on runs"):
        where(three_runs, bad)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("condition", "seeds"),
    [
        ("1 < seed <= 3", [2, 3]),
        ("'bs8' in settings or AV == 50", [1, 2, 3]),
        ("learning_rate > -1 and (seed == 1 or seed == 2)", [1, 2]),
        (" state != 'done' or MAE_AV > 0.5", []),
    ],
)
def test_a_condition_has_the_operators_of_python(three_runs, condition, seeds):
    assert where(three_runs, condition)["seed"].tolist() == seeds


def test_a_missing_value_is_in_nothing_and_neither_more_nor_less(three_runs):
    runs = three_runs.assign(device=None)
    for condition in ("'cuda' in device", "device > 'a'", "device == 'cuda'", "A < 0", "not ('cuda' not in device)"):
        assert where(runs, condition).empty
    assert len(where(runs, "'cuda' not in device and device != 'cuda'")) == 3


def test_what_others_wrote_into_a_run_is_text_in_the_terminal(tmp_path):
    attack = "\x1b]0;owned\x07\x1b[2J\r| <img src=x> a_b _c_\u202e"
    for seed in (1, 2):
        folder = finished_run(tmp_path, {"AV": 50}, seed=seed)
        record = json.loads((folder / "run.json").read_text())
        git = {"commit": "\x1b[2J123", "dirty": False}
        write_json(folder / "run.json", record | {"device": attack, "state": "failed", "error": attack, "git": git})
    (tmp_path / "toy" / "\x1b[2Jx" / "fold0-seed1").mkdir(parents=True)
    (tmp_path / "toy" / "\x1b[2Jx" / "fold0-seed1" / "run.log").write_text(f"failed: {attack}\n")
    for command in (["runs"], ["table"], ["runs", "--where", "AV > '\x1b[2J'"], ["report"]):
        shown = CliRunner().invoke(main, [*command[:1], str(tmp_path), *command[1:]]).output
        assert shown and not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", shown), command
