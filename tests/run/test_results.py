"""The list of all runs, their result table, and what they show beside each other."""

import json
import re
from types import SimpleNamespace

import pandas as pd
import pytest
from click.testing import CliRunner
from drawn_predictions import predictions
from smoke_runs import data
from sweeps import finished_run

from workbook import InputError, plots
from workbook.cli import main
from workbook.files import write_json
from workbook.run.parameters import Parameters
from workbook.run.results import (
    EXCHANGES,
    accuracies,
    all_runs,
    comparison,
    dropout_pair,
    dropout_sentence,
    even_sentence,
    exchange_table,
    lifts_of_runs,
    result_table,
    runs_in,
    trained_both_ways,
    where,
)
from workbook.run.run_folder import start_run


def test_the_result_table_has_a_row_per_run_and_what_is_best_reachable(tmp_path):
    finished_run(tmp_path, {"AV": 90, "A": 60, "V": 30}, dropout="none", epochs=3, fold=2, seed=5)
    finished_run(tmp_path, {"A": 55}, fusion="audio", dropout="none")
    with start_run(Parameters(outputs_root=str(tmp_path), fusion="lt"), data("unfinished")):
        pass
    runs = all_runs(tmp_path)
    assert (runs["seconds"].max(), set(runs["commit"].str.len()) <= {0, 7, 8}) == (120, True)
    table = result_table(runs)
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


def test_runs_that_fulfil_a_condition_are_listed_and_a_bad_one_is_a_line(tmp_path):
    for fusion in ("audio", "video"):
        finished_run(tmp_path, {"AV": 50}, fusion=fusion)
    listed = CliRunner().invoke(main, ["runs", str(tmp_path), "--where", "fusion == 'video'"]).output
    assert len(listed.splitlines()) == 2 and listed.splitlines()[1].endswith("done")
    ended = CliRunner().invoke(main, ["runs", str(tmp_path), "--where", "fuson == 'ia'"])
    assert ended.exit_code == 2 and ended.output.count("\n") == 1
    assert ended.output.startswith("Error: \"fuson == 'ia'\" is no condition on runs (there is no fuson)")


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
        "fusion = 'ia'",
        "AV + 1",
        "AV",
        "1",
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


@pytest.fixture
def both_ways(tmp_path):
    """A run whose system has predictions of three seeds, and two of them with even attention."""
    for even, seeds, right in ((False, (1, 2, 3), 1.0), (True, (2, 3), 0.5)):
        for seed in seeds:
            config = Parameters(outputs_root=str(tmp_path), dropout="none", seed=seed, even_attention=even)
            config.folder.mkdir(parents=True)
            drawn = predictions((right, 0.3, 0.3), seed=seed, clips=32)
            drawn.to_parquet(config.folder / "predictions.parquet")
    parameters = Parameters(outputs_root=str(tmp_path), dropout="none", seed=1)
    return SimpleNamespace(parameters=parameters, folder=parameters.folder)


def test_the_two_trainings_are_compared_where_both_have_the_same_seeds(both_ways):
    sides = trained_both_ways(both_ways)
    assert {name: set(table["seed"]) for name, table in sides.items()} == {"learnt": {2, 3}, "even": {2, 3}}
    right = sides["even"].query("condition == 'AV'").eval("(p1 > p0) == (label == 1)").mean()
    sentence = even_sentence(both_ways)
    assert f"**{100 - 100 * right:+.1f} points**" in sentence
    assert f"100.0 % are right with it, {100 * right:.1f} % after training" in sentence and "(2 of each)" in sentence


def test_without_a_training_with_even_attention_the_sentence_says_how_to_make_one(both_ways):
    parameters = both_ways.parameters.model_copy(update={"heads": 4})
    alone = SimpleNamespace(parameters=parameters, folder=both_ways.folder)
    assert even_sentence(alone).endswith("train it with `-p even_attention true`.")


@pytest.fixture
def exchanges(tmp_path):
    """Runs of two corpora; some do not count: with dropout, with even attention, and of one branch."""
    about = {"dataset": "toy_speaker_features", "dropout": "none"}
    for fusion, scores in {"ia": (99, 97), "concat": (30, 34), "film": (100, 98)}.items():
        for seed, score in enumerate(scores):
            finished_run(tmp_path, {"AV": score}, fusion=fusion, seed=seed, **about)
    finished_run(tmp_path, {"AV": 100}, fusion="concat", dataset="toy_mosei", dropout="none")
    finished_run(tmp_path, {"AV": 1}, fusion="ia", even_attention=True, **about)
    finished_run(tmp_path, {"AV": 2}, fusion="film", balanced=True, **about)
    finished_run(tmp_path, {"AV": 3}, fusion="ia", dataset="toy_speaker_features", dropout="soft")
    finished_run(tmp_path, {"AV": 4}, fusion="video", **about)
    write_json(tmp_path / "times.json", {"ratio": {"ia": {"median": 1.5}, "film": {"median": 1.25}}})
    return exchange_table(all_runs(tmp_path), tmp_path / "times.json")


def test_each_fusion_has_a_row_per_corpus_with_what_it_buys_and_costs(exchanges):
    rows = exchanges.set_index(["corpus", "fusion"])
    speaker, mosei = "toy speakers' features", "toy MOSEI"
    assert list(rows.index) == [(speaker, "concat"), (speaker, "film"), (speaker, "ia"), (mosei, "concat")]
    assert rows.loc[(speaker, "ia"), ["value", "low", "high", "runs"]].tolist() == [98, 97, 99, 2]
    assert rows["kind"].tolist() == [*EXCHANGES, EXCHANGES[0]]
    exchange = {"film": 128 * 128 + 128 + 64 * 256 + 256, "ia": 128 * 128 + 64 * 128 + 64 * 64 + 128 * 64, "concat": 0}
    assert all(row.weights == exchange[row.fusion] for row in exchanges.itertuples())
    assert rows["time"].tolist() == [1.0, 1.25, 1.5, 1.0]


def test_the_figure_has_a_panel_per_corpus_and_two_of_costs(exchanges):
    first, second, weights, time = plots.exchanges(exchanges, {"toy MOSEI": 50}).axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["concat", "film", "ia"]
    assert first.collections[-1].get_offsets()[:, 0].tolist() == [32, 99, 98]
    assert [bar.get_width() for bar in time.patches] == [1.0, 1.25, 1.5]
    assert weights.patches[2].get_width() == pytest.approx(36.864)
    assert second.lines[0].get_xdata()[0] == 50
