"""The paper's tables: the printed numbers, the runs that make them, and our cells beside them."""

import re
from collections import Counter

import pandas as pd
import pytest
import yaml
from drawn_predictions import predictions
from smoke_runs import data

from workbook import ROOT
from workbook.evaluate.paper_tables import (
    SYSTEMS,
    as_latex,
    as_markdown,
    as_wide,
    contradictions,
    gains,
    highest,
    paper_tables,
    score_systems,
    table_cells,
)
from workbook.run.parameters import Parameters
from workbook.run.results import runs_in
from workbook.run.run_folder import start_run
from workbook.sweep.grid import plan

FOLDS = {"ravdess": range(5), "mosei": range(1)}  # section IV: five folds of RAVDESS, MULT's one split of MOSEI
SETTINGS = {  # section IV.1; section IV.2 by way of MULT's code
    "ravdess": {"epochs": 100, "learning_rate": 0.04, "image_size": 224, "frames": 15, "fold_scheme": "paper"},
    "mosei": {"epochs": 40, "learning_rate": 0.001, "batch_size": 24, "protocol": "mult", "fold_scheme": "own"},
}
FILES = [file for file in sorted((ROOT / "params").glob("table*.yaml")) if file.stem.split("-")[1] in FOLDS]


def planned(file, root) -> list[Parameters]:
    """The runs that a file asks for, its corpus being anywhere."""
    grids = yaml.safe_load(file.read_text())
    (root / "mosei_senti_data.pkl").touch()
    (root / "03-01-01-01-01-01-01.wav").touch()
    return plan([grid | {"data_root": str(root), "outputs_root": str(root)} for grid in grids])


def described(table: str, system: str) -> dict:
    """What the paper says of a system by its name: letters, then the heads where they are more than its usual."""
    letters, heads = re.fullmatch(r"([A-Z]+)(\d*)", system).groups()
    own = {"MULT": 5}
    dense = table == "III" and letters != "MULT"
    return {"fusion": letters.lower(), "heads": int(heads or own.get(letters, 1)), "dense_head": dense}


def test_every_printed_mean_is_the_mean_or_has_a_note():
    numbers = paper_tables()
    keys = ["table", "dataset", "metric", "dropout", "system"]
    assert len(numbers.drop_duplicates([*keys, "condition"])) == 9 * 3 * 4 * 3 + 5 * 3 * 4 * 2  # as many as in print
    wide = numbers.pivot(index=keys, columns="condition", values="value")
    notes = numbers[numbers["condition"] == "M"].set_index(keys)["note"].loc[wide.index]
    rounding = wide.index.get_level_values("metric").map({"accuracy": 0.011, "mae": 0.0011}).to_numpy()
    odd = (wide["M"] - wide[["AV", "A", "V"]].mean(axis=1)).abs() > rounding
    pd.testing.assert_series_equal(odd, notes.str.contains("printed mean differs"), check_names=False)


def test_the_one_wrong_decimal_point_is_put_where_the_printed_mean_comes_out_right():
    (misprint,) = contradictions().query("condition != 'M'").itertuples()
    row = paper_tables().query("table == 'II' and dataset == 'mosei' and metric == 'accuracy' and system == 'LT1'")
    values = row[row["dropout"] == "softhard"].set_index("condition")["value"]
    assert (misprint.printed, misprint.expected, misprint.note) == ("0.629", values["V"], "printed as 0.629")
    assert values[["AV", "A", "V"]].mean() == pytest.approx(values["M"], abs=0.005)
    assert (values["AV"] + values["A"] + float(misprint.printed)) / 3 != pytest.approx(values["M"], abs=1)


@pytest.mark.parametrize("dataset", FOLDS)
def test_every_cell_is_asked_for_once_in_each_fold_and_run_as_the_paper_has_it(dataset, tmp_path):
    cells = paper_tables().query("dataset == @dataset")[["table", "dropout", "system"]].drop_duplicates()
    printed = Counter(
        (*described(table, system).items(), dropout, fold)
        for table, dropout, system in cells.itertuples(index=False)
        for fold in FOLDS[dataset]
    )
    runs = [run for file in FILES if dataset in file.stem for run in planned(file, tmp_path)]
    names = ("fusion", "heads", "dense_head")
    asked = Counter((*((name, getattr(run, name)) for name in names), run.dropout, run.fold) for run in runs)
    assert asked == printed and max(asked.values()) == 1
    assert all((SETTINGS[dataset] | {"dataset": dataset}).items() <= run.model_dump().items() for run in runs)


def test_every_printed_system_has_the_name_that_its_runs_have(tmp_path):
    for table, names in SYSTEMS.items():
        for ours, printed in names.items():
            root = tmp_path / printed / table
            root.mkdir(parents=True)
            values = {"dataset": {"II": "ravdess", "III": "mosei"}[table]} | described(table, printed)
            with start_run(Parameters(data_root=str(root), outputs_root=str(root), **values), data("abc")) as run:
                pass
            assert runs_in([run.folder])["system"].tolist() == [ours]
        assert set(paper_tables().query("table == @table")["system"]) == set(names.values())


def test_a_cell_has_ours_with_its_interval_the_print_and_the_coverage():
    systems = {("IA1", "softhard"): predictions((1, 0.5, 0.5), folds=(0, 2)), ("TAV1", "none"): predictions((1, 0, 0))}
    cells = table_cells(score_systems(systems), "II", "ravdess")
    wide = as_wide(cells, folds=5)
    assert len(wide) == 27 and wide.loc[("none", "IA1"), ("AV", "ours")] == ""
    row = wide.loc[("softhard", "IA1")]
    assert row["AV", "ours"] == "100.0 (100.0 to 100.0)" and row["AV", "paper"] == "81.58"
    assert [row["tested", name] for name in ("folds", "actors", "seeds")] == ["2 of 5", "8", "1"]
    assert wide.loc[("none", "TAV"), ("V", "ours")] == "0.0 (0.0 to 0.0)"  # TAV1 is TAV in print
    found = cells.query("system == 'IA1' and dropout == 'softhard' and condition == 'A'").iloc[0]
    assert found["low"] < found["value"] < found["high"]


def test_systems_that_the_paper_lacks_stand_below_its_own():
    systems = {("CMA1", "sampled"): predictions((1, 0.5, 0.5)), ("LT1", "none"): predictions((1, 0.5, 0.5))}
    wide = as_wide(table_cells(score_systems(systems), "II", "ravdess"), folds=5)
    assert wide.index[-1] == ("sampled", "CMA1") and len(wide) == 28
    assert wide.iloc[-1]["AV", "paper"] == "" and wide.loc[("none", "LT1"), ("AV", "paper")] == "79.33"
    assert [*table_cells(score_systems(systems))["system"].unique()] == ["LT1", "CMA1"]


def test_the_exports_hold_every_number_of_the_table():
    cells = table_cells(score_systems({("IA1", "none"): predictions((1, 0.5, 0.5))}), "II", "ravdess")
    wide = as_wide(cells, folds=5)
    ours = wide.loc[("none", "IA1"), ("A", "ours")]
    markdown = as_markdown(wide)
    assert f"| none | IA1 | 100.0 (100.0 to 100.0) *76.00* | {ours} *18.58* |" in re.sub(" +", " ", markdown)
    assert len(markdown.splitlines()) == 2 + 27 and "| none | LT1 | *79.33* |" in re.sub(" +", " ", markdown)
    latex = as_latex(wide, "features in my_file.npz, 5 %", "tab:x")
    assert ours in latex and r"\textit{18.58}" in latex and r"my\_file.npz, 5 \%" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 1
    body = re.search(r"\\midrule\n(.*)\\bottomrule", latex, re.S)[1]
    assert {line.count("&") for line in body.splitlines() if "&" in line} == {wide.shape[1] + 1}


def test_the_sentences_name_what_dropout_adds_and_who_is_highest():
    systems = {("IA1", "none"): predictions((1, 0, 0)), ("IA1", "softhard"): predictions((1, 1, 0))}
    cells = table_cells(score_systems(systems), "II", "ravdess")
    assert gains(cells)["ours"] == {"AV": 0, "A": 100, "V": 0, "M": pytest.approx(100 / 3)}
    assert gains(cells)["the paper's"]["AV"] == pytest.approx(81.58 - 76.00)  # of the same system
    assert gains(cells.query("dropout == 'none'")) == {}
    assert highest(cells) == ["ours IA1 with softhard (66.7 %)", "the paper's IA1 with softhard (70.8 %)"]
