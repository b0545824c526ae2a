"""The report: sections that never mix, tables beside the paper's, claims that known data decide, and the notebook."""

import re

import numpy as np
import pandas as pd
import papermill
import pytest
from click.testing import CliRunner
from conftest import data
from in_process import without_kernels
from scipy.io import wavfile

from workbook import ROOT, InputError, plots
from workbook.cli import main
from workbook.data.features import read_npz
from workbook.data.ravdess import EMOTIONS
from workbook.evaluate.claims import AUDIO, CLAIMS, SAMPLED, check_claims, compare_pairs, in_words
from workbook.evaluate.paper_tables import (
    as_latex,
    as_markdown,
    as_wide,
    gains,
    highest,
    score_systems,
    table_cells,
)
from workbook.evaluate.statistics import differences
from workbook.files import write_json
from workbook.run.parameters import Parameters
from workbook.run.report import overview, sections, training_share
from workbook.run.run_folder import start_run

QUICK = {"resamples": 199}
TESTED = {0: (5, 10, 16, 19), 1: (2, 7, 13, 20), 2: (1, 3, 8, 21), 3: (4, 6, 9, 22), 4: (11, 12, 14, 23)}


def predictions(rights, folds=(0,), seed=0, clips=8, conditions=("AV", "A", "V"), score=False):
    """Predictions whose share of right answers, by condition, is near `rights`; each actor has `clips` clips."""
    rng, rows = np.random.default_rng(seed), []
    for fold in folds:
        for actor in TESTED[fold]:
            for clip in range(clips):
                for condition, share in zip(conditions, rights, strict=True):
                    row = {"clip": f"{actor:02d}-{clip}", "actor": actor, "fold": fold, "condition": condition}
                    right = rng.random() < share
                    label = (clip % 3) - 1.0 if score else clip % 2
                    guess = {"value": label if right else -2.0} if score else {"p0": 1.0 * (right == (label == 0))}
                    rows.append(row | {"label": label} | guess)
    table = pd.DataFrame(rows)
    return table if score else table.assign(p1=1 - table["p0"])


def evaluated(root, table, **values):
    """The folder of an evaluated run with these predictions. Other audio features have a store of their own."""
    with start_run(Parameters(outputs_root=str(root), **values), data(values.get("audio_features", "abcd"))) as run:
        pass
    labels = {"labels": list(EMOTIONS)} if values.get("dataset") == "features" else {}
    write_json(run.folder / "run.json", run.record | {"seconds": {"train": 60, "evaluate": 1}} | labels)
    table.to_parquet(run.folder / "predictions.parquet")
    write_json(run.folder / "metrics.json", {"conditions": {"AV": {"accuracy": 50.0}}, "M": {"accuracy": 50.0}})
    return run.folder


@pytest.fixture
def corpora(tmp_path):
    """Parameters of three kinds of data: RAVDESS, features of its folds, toys."""
    (tmp_path / "ravdess").mkdir()
    (tmp_path / "units.npz").touch()
    ravdess = {"dataset": "ravdess", "data_root": str(tmp_path / "ravdess")}
    units = {"dataset": "features", "data_root": str(tmp_path / "units.npz"), "fold_scheme": "paper"}
    return {"ravdess": ravdess, "units": units, "toy": {"dataset": "toy"}}


# ------------------------------------------------------------------------------------------------------- sections


def test_real_data_features_and_toys_stand_in_sections_of_their_own(corpora, tmp_path):
    root = tmp_path / "outputs"
    for values in corpora.values():
        evaluated(root, predictions((1, 0.5, 0.5)), dropout="none", **values)
    evaluated(root, predictions((1, 0.5, 0.5)), dropout="none", epochs=7, **corpora["ravdess"])
    found = sections(root)
    assert [(s.origin, s.dataset, s.paper) for s in found] == [
        ("real", "ravdess", "ravdess"),
        ("real", "ravdess", "ravdess"),
        ("real", "features", "ravdess"),
        ("toy", "toy", ""),
    ]
    assert sorted(s.settings for s in found if s.dataset == "ravdess") == ["", "epochs7"]
    assert found[2].heading == "REAL DATA: features in units.npz (not the paper's input)"
    assert len({s.name for s in found}) == 4 and all("/" not in s.name for s in found)
    assert overview(found)["folds of these"].tolist() == ["1 of 5"] * 4


def test_the_papers_numbers_stand_beside_real_data_alone(corpora, tmp_path):
    for values in corpora.values():
        evaluated(tmp_path / "outputs", predictions((1, 0.5, 0.5)), dropout="none", **values)
    papers = {s.dataset: s.tables(**QUICK)["II"]["paper"] for s in sections(tmp_path / "outputs")}
    assert papers["toy"].isna().all()
    assert papers["ravdess"].notna().sum() == papers["features"].notna().sum() == 9 * 3 * 4


def test_features_with_other_labels_or_folds_have_no_paper_beside_them(corpora, tmp_path):
    groups = corpora["units"] | {"fold_scheme": "groups"}
    evaluated(tmp_path / "outputs", predictions((1, 1, 1)), dropout="none", **groups)
    folder = evaluated(tmp_path / "outputs", predictions((1, 1, 1)), dropout="softhard", **corpora["units"])
    record = folder / "run.json"
    record.write_text(record.read_text().replace('"calm"', '"bored"'))
    assert [section.paper for section in sections(tmp_path / "outputs")] == ["", ""]


def test_folds_are_pooled_with_as_many_seeds_of_each(corpora, tmp_path):
    root = tmp_path / "outputs"
    for fold, seed in ((0, 1), (0, 2), (3, 1)):
        evaluated(root, predictions((1, 1, 1), (fold,)), dropout="none", fold=fold, seed=seed, **corpora["toy"])
    (section,) = sections(root)
    (table,) = section.systems.values()
    assert len(section.runs) == 3 and len(table) == 2 * 4 * 8 * 3
    (cell, *_) = section.tables(**QUICK)["II"].query("condition == 'AV'").itertuples()
    assert (cell.folds, cell.actors, cell.clips, cell.value) == (2, 8, 64, 100)


def test_no_run_and_a_lost_file_are_one_sentence_each(corpora, tmp_path):
    with pytest.raises(InputError, match=r"no evaluated run under .*: `avlib run params/demo.yaml` makes some"):
        sections(tmp_path)
    folder = evaluated(tmp_path, predictions((1, 1, 1)), dropout="none", **corpora["toy"])
    (folder / "predictions.parquet").write_bytes(b"lost")
    with pytest.raises(InputError, match=r"predictions\.parquet is missing or damaged: evaluate the run again"):
        sections(tmp_path)
    ended = CliRunner().invoke(main, ["report", str(tmp_path / "nothing")])
    assert ended.exit_code == 2 and "no evaluated run" in ended.output and not (tmp_path / "nothing").exists()


# ---------------------------------------------------------------------------------------------------------- tables


def test_a_cell_has_ours_with_its_interval_the_print_and_the_coverage():
    systems = {("IA1", "softhard"): predictions((1, 0.5, 0.5), folds=(0, 2)), ("TAV1", "none"): predictions((1, 0, 0))}
    cells = table_cells(score_systems(systems, **QUICK), "II", "ravdess")
    wide = as_wide(cells, folds=5)
    assert len(wide) == 27 and wide.loc[("none", "IA1"), ("AV", "ours")] == ""
    row = wide.loc[("softhard", "IA1")]
    assert row["AV", "ours"] == "100.0 (100.0 to 100.0)" and row["AV", "paper"] == "81.58"
    assert (row["tested", "folds"], row["tested", "actors"]) == ("2 of 5", "8")
    assert wide.loc[("none", "TAV"), ("V", "ours")] == "0.0 (0.0 to 0.0)"  # TAV1 is TAV in print
    found = cells.query("system == 'IA1' and dropout == 'softhard' and condition == 'A'").iloc[0]
    assert found["low"] < found["value"] < found["high"]


def test_systems_that_the_paper_lacks_stand_below_its_own():
    systems = {("CMA1", "sampled"): predictions((1, 0.5, 0.5)), ("LT1", "none"): predictions((1, 0.5, 0.5))}
    wide = as_wide(table_cells(score_systems(systems, **QUICK), "II", "ravdess"), folds=5)
    assert wide.index[-1] == ("sampled", "CMA1") and len(wide) == 28
    assert wide.iloc[-1]["AV", "paper"] == "" and wide.loc[("none", "LT1"), ("AV", "paper")] == "79.33"
    assert [*table_cells(score_systems(systems, **QUICK))["system"].unique()] == ["LT1", "CMA1"]


def test_sentiment_has_a_second_table_of_errors():
    found = score_systems({("IA1 dense", "none"): predictions((1, 0.5, 0.5), score=True)}, **QUICK)
    cells = table_cells(found, "III", "mosei")
    errors = as_wide(cells, folds=1, metric="mae")
    assert errors.loc[("none", "IA1"), ("AV", "ours")] == "0.000 (0.000 to 0.000)"
    assert errors.loc[("none", "IA1"), ("AV", "paper")] == "0.799"


def test_the_exports_hold_every_number_of_the_table():
    cells = table_cells(score_systems({("IA1", "none"): predictions((1, 0.5, 0.5))}, **QUICK), "II", "ravdess")
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


def test_ours_and_the_papers_have_colours_of_their_own_in_the_notebook():
    wide = as_wide(
        table_cells(score_systems({("IA1", "none"): predictions((1, 1, 1))}, **QUICK), "II", "ravdess"), folds=5
    )
    real, toy = (plots.styled(wide, origin).to_html() for origin in ("real", "toy"))
    assert "#2b4162" in real and "#2b4162" not in toy and "#a0528c" in toy
    assert "font-style: italic" in real


def test_the_sentences_name_what_dropout_adds_and_who_is_highest():
    systems = {("IA1", "none"): predictions((1, 0, 0)), ("IA1", "softhard"): predictions((1, 1, 0))}
    cells = table_cells(score_systems(systems, **QUICK), "II", "ravdess")
    assert gains(cells)["ours"] == {"AV": 0, "A": 100, "V": 0, "M": pytest.approx(100 / 3)}
    assert gains(cells)["the paper's"]["AV"] == pytest.approx(81.58 - 76.00)  # of the same system
    assert gains(cells.query("dropout == 'none'")) == {}
    assert highest(cells) == ["ours IA1 with softhard (66.7 %)", "the paper's IA1 with softhard (70.8 %)"]


# ---------------------------------------------------------------------------------------------------------- claims


def paired(first, second, gain, seed=0):
    """Two systems on all 20 actors of five folds, the first right in `gain` of the clips that the second has wrong."""
    base = predictions((0.5, 0.5, 0.5), folds=range(5), seed=seed)
    wrong = (base["p1"] > 0.5) != (base["label"] == 1)
    turned = wrong & (np.random.default_rng(seed + 1).random(len(base)) < gain)
    better = base.assign(p0=base["p0"].where(~turned, base["p1"]), p1=base["p1"].where(~turned, base["p0"]))
    return {first: better, second: base}


def test_a_true_gain_holds_its_reverse_does_not_and_nothing_cannot_be_told_apart():
    claim = CLAIMS[1]  # softhard saves A and V
    for gain, (first, second), verdict in (
        (0.6, (("IA1", "softhard"), ("IA1", "none")), "holds"),
        (0.6, (("IA1", "none"), ("IA1", "softhard")), "does not hold"),
        (0.0, (("IA1", "softhard"), ("IA1", "none")), "cannot be told apart"),
    ):
        table = check_claims(paired(first, second, gain), (claim,), "ravdess", **QUICK)
        assert set(table["verdict"]) == {verdict} and table["condition"].tolist() == ["A", "V"]
        assert table["paper"].tolist() == pytest.approx([58.08 - 18.58, 72.83 - 22.83])
        assert in_words(table, claim).startswith(f"**softhard saves A and V**: {verdict} in 2 of 2 (20 actors).")


def test_a_comparison_is_that_of_differences_with_holm_over_the_claim():
    systems = paired(("IA1", "softhard"), ("IA1", "none"), 0.1)
    table = check_claims(systems, CLAIMS[1:2], "ravdess", **QUICK)
    alone = differences({" ".join(name): rows for name, rows in systems.items()}, conditions=("A", "V"), **QUICK)
    same = ["difference", "low", "high", "p", "effect", "deviation", "actors"]
    pd.testing.assert_frame_equal(table[same], alone[same])
    assert table["p_holm"].min() == pytest.approx(min(1, 2 * alone["p"].min())) and set(table["pairs"]) == {2}
    assert (table["needed"] >= 6).all() and (table["smallest"] > 0).all()


def test_heads_are_judged_by_the_sign_of_the_print_and_not_at_all_without_one():
    heads = CLAIMS[3]
    systems = paired(("IT4", "softhard"), ("IT1", "softhard"), 0.6)  # the print has IT4 above IT1 in AV, below it in M
    table = check_claims(systems, (heads,), "ravdess", **QUICK).set_index("condition")
    assert table["verdict"].to_dict() == {"AV": "holds", "M": "does not hold"}
    assert check_claims(systems, (heads,), "", **QUICK).empty
    assert in_words(check_claims(systems, (heads,), "", **QUICK), heads).endswith("nothing to compare with the print.")


def test_toys_have_no_printed_numbers_in_their_claims():
    table = check_claims(paired(("IA1", "softhard"), ("IA1", "none"), 0.6), CLAIMS, "", **QUICK)
    assert table["paper"].isna().all() and "printed" not in in_words(table, CLAIMS[1])


def test_other_folds_are_left_out_of_a_comparison_and_none_in_common_is_none():
    systems = paired(("IA1", "softhard"), ("IA1", "none"), 0.6)
    half = systems[("IA1", "none")].query("fold < 2")
    table = check_claims(systems | {("IA1", "none"): half}, CLAIMS[1:2], **QUICK)
    assert set(table["actors"]) == {8}
    apart = {("IA1", "none"): half, ("IA1", "softhard"): systems[("IA1", "softhard")].query("fold == 4")}
    assert check_claims(apart, CLAIMS, **QUICK).empty


def test_sampled_and_audio_features_are_compared_where_they_were_run():
    table = check_claims(paired(("IA1", "sampled"), ("IA1", "softhard"), 0.5), (SAMPLED,), **QUICK)
    assert set(table["verdict"]) == {"holds"} and table["condition"].tolist() == ["AV", "A", "V", "M"]
    table = check_claims(paired(("audio", "none"), ("audio chroma", "none"), 0.5), (AUDIO,), **QUICK)
    assert table["label"].tolist() == ["audio less audio chroma"] and table["verdict"].tolist() == ["holds"]


def test_the_cost_of_a_dropout_is_that_of_the_same_system_fold_and_seed():
    times = [("IA1", "sampled", 0, 3), ("IA1", "softhard", 0, 10), ("IA1", "sampled", 1, 2), ("IA1", "softhard", 1, 4)]
    times += [("TAV1", "softhard", fold, 100) for fold in range(5)]  # was trained with one of the two alone
    runs = pd.DataFrame(times, columns=["system", "dropout", "fold", "train_seconds"]).assign(seed=1)
    assert training_share(runs, "sampled", "softhard") == pytest.approx(0.4)
    assert np.isnan(training_share(runs[runs["dropout"] == "sampled"], "sampled", "softhard"))


def test_every_pair_of_a_dropout_is_compared_and_none_across():
    systems = paired(("IA1", "none"), ("LT1", "none"), 0.5) | {("TAV1", "none"): predictions((0.5, 0.5, 0.5), range(5))}
    systems |= {("IA1", "softhard"): systems[("IA1", "none")], ("LT1", "softhard"): systems[("LT1", "none")]}
    table = compare_pairs(systems, "ravdess", **QUICK)
    of_av = table.query("condition == 'AV'")
    assert of_av.groupby("dropout").size().to_dict() == {"none": 3, "softhard": 1}
    assert set(of_av["first"]) | set(of_av["second"]) == {"IA1", "LT1", "TAV"}
    assert (of_av["pairs"] == of_av["dropout"].map({"none": 3, "softhard": 1})).all()
    assert compare_pairs({("IA1", "none"): systems[("IA1", "none")]}, **QUICK).empty


# ------------------------------------------------------------------------------------- docs/paper_tables.md and files


def of_page():
    """The pieces of Python of docs/paper_tables.md: the report's, and the script that makes features of RAVDESS."""
    page = (ROOT / "docs" / "paper_tables.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)


def test_the_report_from_python_runs_as_the_page_has_it(corpora, tmp_path, capsys):
    evaluated(tmp_path / "outputs", predictions((1, 0.5, 0.5)), dropout="none", **corpora["units"])
    evaluated(tmp_path / "outputs", predictions((1, 0.9, 0.5)), dropout="softhard", **corpora["units"])
    exec(
        of_page()[0].replace(
            "from workbook import OUTPUTS", f"from pathlib import Path; OUTPUTS = Path('{tmp_path}/outputs')"
        ),
        {},
    )
    printed = capsys.readouterr().out
    assert "REAL DATA: features in units.npz" in printed and "**softhard saves A and V**" in printed


def test_the_script_of_the_page_makes_features_that_a_run_reads(tmp_path, monkeypatch):
    (tmp_path / "openface").mkdir()
    (tmp_path / "ravdess").mkdir()
    names = [f" AU{unit:02d}_{kind}" for kind, many in (("r", 17), ("c", 18)) for unit in range(many)]
    for actor in (5, 6, 7):
        trial = f"01-{actor - 2:02d}-01-01-01-{actor:02d}"
        sound = np.random.default_rng(actor).integers(-9999, 9999, 4 * 22050, dtype=np.int16)
        wavfile.write(tmp_path / f"ravdess/03-{trial}.wav", 22050, sound)
        units = pd.DataFrame(np.arange(70.0).reshape(2, 35), columns=names)  # OpenFace has a space there
        units.assign(success=[1, 0]).to_csv(tmp_path / f"openface/01-{trial}.csv", index=False)
    monkeypatch.chdir(tmp_path)
    script = (
        of_page()[1].replace('"data/ravdess"', f'"{tmp_path}/ravdess"').replace("preprocess()", "preprocess(workers=1)")
    )
    exec(script, {"__name__": "__main__"})
    features = read_npz(tmp_path / "ravdess_units.npz")
    assert features.audio.shape[:2] == (3, 10) and features.video.shape == (3, 1, 35)
    assert features.video[0, 0].tolist() == list(range(35))  # the frame without a face is left out
    assert features.clips["actor"].tolist() == [5, 6, 7] and features.names == ["angry", "happy", "sad"]


# -------------------------------------------------------------------------------------------------------- notebook


def report(root, out):
    with without_kernels():
        given = {"outputs_root": str(root), "resamples": 99}
        papermill.execute_notebook(ROOT / "notebooks/report.ipynb", out, given, progress_bar=False)


def test_the_notebook_reports_on_all_kinds_of_runs_and_leaves_their_files(corpora, tmp_path):
    root = tmp_path / "outputs"
    for fold in (0, 1):
        for dropout, rights in (("none", (0.8, 0.2, 0.2)), ("softhard", (0.8, 0.6, 0.6)), ("sampled", (0.8, 0.5, 0.5))):
            given = {"dropout": dropout, "fold": fold}
            evaluated(root, predictions(rights, (fold,), fold), **given, **corpora["units"])
        evaluated(
            root, predictions((0.7, 0.5, 0.5), (fold,)), dropout="softhard", fusion="lt", fold=fold, **corpora["units"]
        )
        for features in ("mfcc", "chroma"):
            alone = {"fusion": "audio", "dropout": "none", "audio_features": features, "fold": fold}
            evaluated(root, predictions((0.6, 0.6), (fold,), conditions=("AV", "A")), **alone, **corpora["ravdess"])
    evaluated(root, predictions((1, 0.5, 0.5)), dropout="none", **corpora["toy"])
    report(root, tmp_path / "out.ipynb")
    files = {path.name for path in root.glob("report/features-*/*")}
    assert files >= {"table-II.csv", "table-II-accuracy.md", "table-II-accuracy.tex", "slopes-II.png", "heatmap-II.png"}
    assert files >= {"pairs.csv", "pairs.png", "claims.csv", "claims.md"}
    assert len(list(root.glob("report/ravdess-*/audio.png"))) == 1
    assert "softhard saves A and V" in next(root.glob("report/features-*/claims.md")).read_text()
    assert "audio less audio chroma in A" in next(root.glob("report/ravdess-*/claims.md")).read_text()
    toys = next(root.glob("report/toy-*/table-II.csv"))
    assert pd.read_csv(toys)["paper"].isna().all()


def test_the_notebook_is_content_with_one_toy_run(corpora, tmp_path):
    evaluated(tmp_path, predictions((1, 0.5, 0.5)), dropout="none", **corpora["toy"])
    report(tmp_path, tmp_path / "out.ipynb")
    assert {path.name for path in tmp_path.glob("report/toy-*/*")} >= {"table-II.csv", "heatmap-II.png", "claims.md"}


def test_the_notebook_without_a_run_ends_in_one_sentence(tmp_path):
    with pytest.raises(InputError, match="no evaluated run under"):
        report(tmp_path, None)
