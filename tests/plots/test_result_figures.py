"""Figures of results hold the numbers of their tables: evaluation, training, faithfulness, statistics, paper tables."""

from itertools import product
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.text import Text
from nbclient import NotebookClient

from workbook import ROOT, InputError, plots
from workbook.plots.marks import FEWEST_ACTORS, description, new_figure

EMOTIONS = ["neutral", "calm", "happy"]
ROW = {"epoch": 1, "train_loss": 2.0, "train_accuracy": 20.0, "validation_loss": 1.9, "validation_accuracy": 25.0}
ROW |= {"learning_rate": 0.04, "best": True}


def labels(ticks):
    return [label.get_text() for label in ticks]


def bars(ax):
    """The heights of all bars, one list for each kind."""
    return [[bar.get_height() for bar in group] for group in ax.containers]


def whiskers(ax, axis=0):
    """The ends of all whiskers, and whether each is dotted; axis : 0 = horizontal ones, 1 = vertical."""
    groups = [group for group in ax.collections if isinstance(group, LineCollection)]
    ends = [tuple(segment[:, axis].tolist()) for group in groups for segment in group.get_segments()]
    return ends, [dashes is not None for group in groups for _, dashes in group.get_linestyle()]


def test_confusions_show_percent_of_each_row_a_panel_for_each_condition():
    counts = [[3, 1, 0], [0, 5, 0], [0, 0, 0]]  # no clip was happy
    figure = plots.confusions({"AV": counts, "A": np.eye(3), "V": np.ones((3, 3))}, EMOTIONS)
    both, audio, video = figure.axes
    assert labels(both.texts) == ["75", "25", "0", "0", "100", "0"] and set(labels(video.texts)) == {"33"}
    assert [ax.get_title() for ax in figure.axes] == ["AV  both", "A  audio alone", "V  video alone"]
    assert labels(both.get_yticklabels()) == labels(audio.get_xticklabels()) == EMOTIONS
    assert both.get_ylim()[0] > both.get_ylim()[1]  # the first emotion is on top


def test_a_name_with_dollars_is_no_formula_in_any_figure():
    names = ["$\\frac$ 5", "a $", "plain"]
    table = pd.DataFrame({"emotion": names, "dropout": names, "system": names, "condition": "AV", "accuracy": 50.0})
    rows = table.assign(difference=1.0, value=1.0, low=0.0, high=2.0, actors=9, p_holm=1.0)
    windows = {"has_video": np.zeros(1, bool), "starts": np.zeros(1), "frame_times": np.array([[0.1, 3.5]])}
    answers = pd.DataFrame({"window": [0], "condition": ["AV"]} | {name: [0.3] for name in names})
    figures = [
        plots.confusions({"AV": np.eye(3)}, names),
        plots.per_emotion(table),
        plots.conditions(table),
        plots.score_table(table),
        plots.named_frames(np.zeros((3, 8, 8, 3), np.uint8), names),
        plots.outputs([np.array([0.5, 0.3, 0.2])], [np.zeros(3)], "AV", names),
        plots.probabilities(answers, SimpleNamespace(**windows, seconds=3.6), names),
        plots.attention_by_emotion({"audio": pd.DataFrame(np.ones((3, 4)), index=names)}, {"audio": np.arange(4.0)}),
        plots.system_intervals(rows),
    ]
    for figure in figures:
        texts = [text for text in figure.figure.findobj(Text) if "$" in text.get_text()]
        assert texts and not any(text._preprocess_math(text.get_text())[1] for text in texts), figure
        figure.figure.draw_without_rendering()


def test_bars_stand_in_order_with_their_values_below_their_yardsticks():
    accuracies = {"none": (94.0, 26.6, 39.1, 53.2), "softhard": (93.8, 62.5, 60.2, 72.2)}
    table = pd.DataFrame(accuracies, index=["AV", "A", "V", "M"]).rename_axis("condition").reset_index()
    table = table.melt("condition", var_name="dropout", value_name="accuracy")
    reachable = {"AV": 100.0, "A": 62.5, "V": 62.5, "without an exchange": 33.3}
    ax = plots.conditions(table, reachable, chance=12.5)
    assert bars(ax) == [[*values] for values in accuracies.values()] and {"26.6", "72.2"} <= set(labels(ax.texts))
    middle = (ax.containers[0][1].get_x() + ax.containers[1][1].get_x() + ax.containers[1][1].get_width()) / 2
    assert middle == pytest.approx(1, abs=0.02)  # the two bars of A stand around its tick
    *dashes, chance = ax.lines
    heights = [(np.mean(dash.get_xdata()), dash.get_ydata()[0]) for dash in dashes]
    assert heights == [(0, 100), (1, 62.5), (2, 62.5), (0, 33.3)] and set(chance.get_ydata()) == {12.5}
    expected = ["best reachable", "expected without an exchange", "chance 12.5 %"]
    assert labels(ax.get_legend().get_texts()) == ["dropout: none", "dropout: softhard", *expected]
    noisy = pd.DataFrame({"dropout": "none", "condition": ["V noise", "A noise"], "accuracy": [11.0, 22.0]})
    ax = plots.conditions(pd.concat([noisy, table[table["dropout"] == "none"]]))
    assert bars(ax) == [[94.0, 26.6, 39.1, 53.2, 22.0, 11.0]]
    seeds = [noisy.assign(accuracy=accuracy) for accuracy in (10.0, 20.0, 60.0)]
    ax = plots.conditions(pd.concat(seeds))
    assert bars(ax) == [[30.0, 30.0]] and whiskers(ax, axis=1)[0] == [(10.0, 60.0)] * 2
    rows = [(name, condition, 10.0 * i + 3 * j) for i, name in enumerate(EMOTIONS) for j, condition in enumerate("VA")]
    table = pd.DataFrame(rows, columns=["emotion", "condition", "accuracy"])
    table.loc[table["emotion"] == "calm", "accuracy"] = np.nan  # it has no clips
    ax = plots.per_emotion(table)
    assert [drawn[::2] for drawn in bars(ax)] == [[3, 23], [0, 20]] and labels(ax.get_xticklabels()) == EMOTIONS
    assert to_hex(ax.containers[0][0].get_facecolor()) == plots.AUDIO


def test_a_table_of_scores_has_a_row_for_every_kind_and_the_mean_of_its_folds():
    rows = [(f"IA{kind}", name, 10 * kind + fold) for kind in range(3) for name in ("V", "AV") for fold in (1, 4)]
    ax = plots.score_table(pd.DataFrame(rows, columns=["dropout", "condition", "accuracy"]))
    assert (labels(ax.get_yticklabels()), labels(ax.get_xticklabels())) == (["IA0", "IA1", "IA2"], ["AV", "V"])
    assert labels(ax.texts)[:4] == ["2.5", "2.5", "12.5", "12.5"]


def test_sentiment_has_a_panel_for_each_condition_with_its_error(rng):
    label, errors = rng.uniform(-3, 3, 97), {"V": 2.0, "AV": 0.5, "A noise": 9.0, "A": 1.0}
    tables = [pd.DataFrame({"label": label, "value": label + error, "condition": c}) for c, error in errors.items()]
    figure = plots.sentiment(pd.concat(tables, ignore_index=True))
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["AV  both: MAE 0.50", "A  audio alone: MAE 1.00", "V  video alone: MAE 2.00"]
    assert len({ax.collections[0].get_clim() for ax in figure.axes}) == 1
    assert all(ax.collections[0].get_array().sum() == 97 for ax in figure.axes)  # every clip is in one of the cells


def test_history_marks_the_best_epoch_and_the_learning_rates():
    table = pd.DataFrame([ROW | {"epoch": 1, "validation_accuracy": 30, "learning_rate": 0.04}] * 3)
    table = table.assign(epoch=[1, 2, 3], validation_accuracy=[30, 71.5, 50], best=[True, True, False])
    loss, accuracy = plots.history(table.assign(learning_rate=[0.04, 0.04, 0.004]), ("MAE", "sign right (%)")).axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("MAE", "sign right (%)")
    assert accuracy.get_title(loc="left") == "best epoch 2: 71.5 %, loss 1.900"
    validation, ring = accuracy.lines[1:3]
    assert list(validation.get_ydata()) == [30, 71.5, 50]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (2, 71.5)
    assert [(text.get_text().strip(), text.get_position()[0]) for text in loss.texts] == [("0.004", 3)]


def test_a_headless_notebook_shows_every_figure_once_and_loads_neither_pyav_nor_librosa(tmp_path):
    cells = [
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom workbook import plots",
        "curve = plots.LiveHistory(('loss', 'accuracy'), 3)",
        f"for epoch in (1, 2, 3):\n    curve.add({ROW!r} | {{'epoch': epoch}})",
        "plots.history(curve.table)",
        "import numpy as np\nplots.features(np.eye(3), 'audio');\nassert not {'av', 'librosa'} & set(sys.modules)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    for cell in notebook.cells[2:]:
        assert [("image/png" in output.get("data", {})) for output in cell.outputs] == [True]
        assert '<img alt="Figure' in cell.outputs[0]["data"]["text/html"]


def test_the_alternative_text_of_a_figure_has_its_titles_axes_and_legend():
    table = pd.DataFrame({"dropout": ["none", "hard <b>"], "condition": "AV", "accuracy": [50.0, 60.0]})
    figure = plots.conditions(table, {"AV": 90.0}, 12.5).figure
    figure.suptitle("two runs")
    html = figure._repr_html_()
    assert description(new_figure(2)) == "Figure"
    assert html.startswith('<img alt="Figure: two runs. upwards: accuracy (%). legend: dropout: none; hard &lt;b&gt;;')
    assert "best reachable; chance 12.5 %" in html and html.count("data:image/png;base64,") == 1


def test_curves_of_deletion_are_means_over_actors_and_their_areas_stand_beside_them():
    from workbook.attention.faithfulness import area_summary, areas

    rows = product(("a", "b", "c"), ("random", "attention"), ("delete", "insert"), (0, 0.5, 1))
    table = pd.DataFrame(rows, columns=["clip", "order", "curve", "share"])
    table = table.assign(modality="video", actor=table["clip"].map({"a": 1, "b": 1, "c": 2}))
    falls = np.where(table["curve"] == "delete", 1 - table["share"], table["share"])
    is_lower = (table["order"] == "attention") & (table["share"] == 0.5)
    table["score"] = falls + 0.1 * (table["actor"] == 2) - 0.2 * is_lower
    summary = area_summary(areas(table), pd.DataFrame({"modality": ["video"], "low": -0.1, "high": 0.1}))
    delete, insert, between = plots.deletion_curves(table, summary).axes
    lines = {line.get_label(): line.get_ydata() for line in delete.lines}
    assert lines["random"] == pytest.approx([1.05, 0.55, 0.05])
    assert lines["attention"] == pytest.approx([1.05, 0.35, 0.05])
    assert delete.lines[0].get_xdata().tolist() == [0, 50, 100]
    assert insert.lines[0].get_ydata() == pytest.approx([0.05, 0.55, 1.05])
    assert insert.get_ylim() == delete.get_ylim() and insert.get_ylim()[0] < 0.05 and insert.get_ylim()[1] > 1.05
    dots = between.collections[-1].get_offsets()
    assert dots[:, 0].tolist() == pytest.approx(summary["between"].tolist())
    assert labels(between.get_yticklabels()) == ["random", "attention"]


def test_shuffled_layers_have_a_line_per_method_in_the_panel_of_a_modality():
    rows = product(("none", "classifier"), ("attention", "integrated gradients"), ("audio", "video"))
    table = pd.DataFrame(rows, columns=["layer", "method", "modality"])
    table["mean"] = np.where(table["layer"] == "none", 1.0, 0.2) * np.where(table["modality"] == "audio", 1, -1)
    figure = plots.shuffled_layers(table.assign(low=table["mean"] - 0.1, high=table["mean"] + 0.1))
    assert [[line.get_ydata()[1] for line in ax.lines[1:]] for ax in figure.axes] == [[0.2] * 2, [-0.2] * 2]
    assert labels(figure.axes[1].get_xticklabels()) == ["none", "classifier"]


@pytest.fixture
def pairs():
    names = pd.DataFrame({"first": ["a", "a", "b"], "second": ["b", "c", "c"], "condition": "AV"})
    numbers = {"difference": [5.0, -2.0, -7.0], "low": [1.0, -6.0, -9.0], "high": [9.0, 2.0, -5.0]}
    return names.assign(**numbers, p_holm=[0.01, 0.7, 0.04], actors=[24, 24, 5])


def test_intervals_stand_at_their_values_in_the_row_of_their_system():
    rows = [("IA1", "AV", 64.0, 58.0, 71.0, 24), ("IA1", "V", 38.0, 31.0, 46.0, 24), ("LT1", "AV", 62.0, 60.0, 63.0, 4)]
    systems = pd.DataFrame(rows, columns=["system", "condition", "value", "low", "high", "actors"])
    ax = plots.system_intervals(systems, chance=12.5)
    assert whiskers(ax) == ([(58, 71), (60, 63), (31, 46)], [False, True, False])
    points = {group.get_label(): np.array(group.get_offsets()) for group in ax.collections}
    assert points["AV  both"].round().tolist() == [[64, 0], [62, 1]] and points["V  video alone"][:, 0].tolist() == [38]
    assert labels(ax.get_yticklabels()) == ["IA1", "LT1"] and ax.texts[0].get_text() == " chance 12.5"
    assert ax.get_xlabel().endswith(f"dotted: fewer than {FEWEST_ACTORS} actors")
    table = pd.DataFrame({"modality": ["audio", "video"], "pair": ["x", "y"], "mean": [0.1, -0.3]})
    ax = plots.intervals(table.assign(low=-0.4, high=0.2), ["modality", "pair"], "rho", (-1, 1)).axes[0]
    assert labels(ax.get_yticklabels()) == ["audio: x", "video: y"]
    assert np.array(ax.collections[-1].get_offsets()) == pytest.approx(np.array([[0.1, 0], [-0.3, 1]]))


def test_a_difference_is_filled_where_holm_leaves_it(pairs):
    ax = plots.differences(pairs)
    assert whiskers(ax) == ([(1, 9), (-6, 2), (-9, -5)], [False, False, True])
    points = ax.collections[-1]
    assert points.get_offsets()[:, 0].tolist() == [5, -2, -7]
    assert [to_hex(colour) != "#ffffff" for colour in points.get_facecolors()] == [True, False, True]
    two = plots.differences(pd.concat([pairs, pairs.assign(condition="V")]))
    assert labels(two.get_yticklabels())[::3] == ["a less b   AV", "a less b   V"]


def test_matrices_are_row_less_column_on_one_scale_and_bold_where_holm_leaves_it(pairs):
    figure = plots.difference_matrices({"none": pairs, "softhard": pairs.assign(difference=[-11.0, 0.02, -0.02])})
    first, second = figure.axes
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["none", "softhard"]
    assert {ax.collections[0].get_clim() for ax in (first, second)} == {(-11, 11)}
    values = first.collections[0].get_array().filled(np.nan).reshape(3, 3)
    np.testing.assert_array_equal(values, [[np.nan, 5, -2], [-5, np.nan, -7], [2, 7, np.nan]])
    bold = {text.get_text() for text in first.texts if text.get_fontweight() == "bold"}
    assert bold == {"+5.0", "-5.0", "-7.0", "+7.0"} and labels(second.texts).count("+0.0") == 4  # never -0.0


def test_a_ladder_draws_every_rung_and_step():
    rungs = {"rung": ["random", "actors", "5 folds"], "value": [82.0, 75.0, 61.0], "step": [np.nan, -7.0, -14.0]}
    sizes = {"low": [77.0, 55.0, 56.0], "high": [87.0, 90.0, 67.0], "actors": [24, 4, 24], "clips": [288, 240, 1440]}
    ax = plots.ladder(pd.DataFrame(rungs | sizes).assign(condition="AV"))
    assert ax.lines[0].get_ydata().tolist() == [82, 75, 61, 61]
    assert whiskers(ax, axis=1) == ([(77, 87), (55, 90), (56, 67)], [False, True, False])
    assert labels(ax.texts) == ["82.0", "75.0", "-7.0", "61.0", "-14.0"]
    assert labels(ax.get_xticklabels())[1] == "actors\n240 clips, 4 actors"


@pytest.fixture
def cells():
    """Cells of two systems that have both dropouts, and of one that has softhard alone."""
    systems = [("none", "IA1", 20), ("none", "LT1", 20), ("softhard", "IA1", 20), ("softhard", "LT1", 4)]
    rows = [
        (dropout, system, condition, value + 10 * (dropout == "softhard"), actors)
        for dropout, system, actors in [*systems, ("softhard", "IT1", 20)]
        for condition, value in (("AV", 70.0), ("A", 30.0), ("V", 28.0), ("M", 42.0))
    ]
    cells = pd.DataFrame(rows, columns=["dropout", "system", "condition", "value", "actors"]).assign(metric="accuracy")
    return cells.assign(low=cells["value"] - 5, high=cells["value"] + 5, paper=cells["value"] + 3)


def test_a_slope_goes_from_none_to_softhard_and_the_papers_stand_in_a_row_of_their_own(cells):
    figure = plots.slopes(cells, "real", "REAL DATA")
    ours, others, papers, _ = figure.axes
    assert [ax.get_title() for ax in figure.axes[:2]] == ["IA1", "LT1"]  # IT1 has no run without dropout
    assert [line.get_ydata().tolist() for line in ours.lines] == [[70, 80], [30, 40], [28, 38]]
    assert [line.get_ydata().tolist() for line in papers.lines] == [[73, 83], [33, 43], [31, 41]]
    assert "ours (real)" in ours.get_ylabel() and "the paper" in papers.get_ylabel()
    ends = [(65, 75), (75, 85), (25, 35), (35, 45), (23, 33), (33, 43)]
    assert whiskers(others, axis=1) == (ends, [False, True] * 3)  # four actors
    heights = sorted(text.get_position()[1] for text in ours.texts if text.get_ha() == "right")
    assert len(heights) == 3 and np.diff(heights).min() >= 9  # numbers do not lie on each other
    with pytest.raises(InputError, match="there is no slope to draw"):
        plots.slopes(cells.query("dropout == 'softhard'"), "real")


def test_a_heatmap_has_ours_beside_the_papers_and_an_empty_cell_where_nothing_was_run(cells):
    cells.loc[cells["system"] == "IT1", "value"] = float("nan")
    ours, papers = plots.system_heatmap(cells, "real", "title").axes
    assert [ax.get_title() for ax in (ours, papers)] == ["ours (real)", "the paper"]
    assert len(ours.texts) == 4 * 4 and len(papers.texts) == 5 * 4 and ours.texts[0].get_text() == "70.0"
    assert labels(ours.get_yticklabels()) == ["none   IA1", "LT1", "softhard   IA1", "LT1", "IT1"]
