"""Figures of results hold the numbers of their tables: evaluation, training, faithfulness, statistics, paper tables."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.text import Text
from nbclient import NotebookClient

from workbook import ROOT, InputError, plots
from workbook.plots import training
from workbook.plots.marks import FEWEST_ACTORS

EMOTIONS = ["neutral", "calm", "happy"]
ROW = {
    "epoch": 1,
    "train_loss": 2.0,
    "train_accuracy": 20.0,
    "validation_loss": 1.9,
    "validation_accuracy": 25.0,
    "learning_rate": 0.04,
    "best": True,
}


def labels(ticks):
    return [label.get_text() for label in ticks]


def whiskers(ax, axis=0):
    """The ends of all whiskers, and whether each is dotted; axis : 0 = horizontal ones, 1 = vertical."""
    groups = [group for group in ax.collections if isinstance(group, LineCollection)]
    ends = [tuple(segment[:, axis].tolist()) for group in groups for segment in group.get_segments()]
    return ends, [dashes is not None for group in groups for _, dashes in group.get_linestyle()]


# evaluation


def test_confusions_show_percent_of_each_row_a_panel_for_each_condition():
    counts = [[3, 1, 0], [0, 5, 0], [0, 0, 0]]  # no clip was happy
    figure = plots.confusions({"AV": counts, "A": np.eye(3), "V": np.ones((3, 3))}, EMOTIONS)
    both, audio, video = figure.axes
    assert [text.get_text() for text in both.texts] == ["75", "25", "0", "0", "100", "0"]
    assert {text.get_text() for text in video.texts} == {"33"}
    assert [ax.get_title() for ax in figure.axes] == ["AV  both", "A  audio alone", "V  video alone"]
    assert labels(both.get_yticklabels()) == labels(audio.get_xticklabels()) == EMOTIONS
    assert both.get_ylim()[0] > both.get_ylim()[1]  # the first emotion is on top


def test_per_emotion_bars_are_the_accuracies():
    rows = [(name, condition, 10.0 * i + 3 * j) for i, name in enumerate(EMOTIONS) for j, condition in enumerate("VA")]
    ax = plots.per_emotion(pd.DataFrame(rows, columns=["emotion", "condition", "accuracy"]), label="class")
    heights = [[bar.get_height() for bar in bars] for bars in ax.containers]
    assert heights == [[3, 13, 23], [0, 10, 20]]  # A before V, whatever the table's order
    assert to_hex(ax.containers[0][0].get_facecolor()) == plots.AUDIO
    assert ax.get_xlabel() == "true class" and labels(ax.get_xticklabels()) == EMOTIONS


def test_a_name_with_dollars_is_no_formula_in_any_figure(rng):
    names = ["$\\frac$ 5", "a $", "plain"]
    table = pd.DataFrame({"emotion": names, "dropout": names, "system": names, "condition": "AV", "accuracy": 50.0})
    rows = table.assign(difference=1.0, value=1.0, low=0.0, high=2.0, actors=9, p_holm=1.0)
    windows = SimpleNamespace(
        has_video=np.zeros(1, bool), starts=np.zeros(1), frame_times=np.array([[0.1, 3.5]]), seconds=3.6
    )
    answers = pd.DataFrame({"window": [0], "condition": ["AV"]} | {name: [0.3] for name in names})
    figures = [
        plots.confusions({"AV": np.eye(3)}, names),
        plots.per_emotion(table),
        plots.conditions(table),
        plots.score_table(table),
        plots.named_frames(np.zeros((3, 8, 8, 3), np.uint8), names),
        plots.outputs([np.array([0.5, 0.3, 0.2])], [np.zeros(3)], "AV", names),
        plots.probabilities(answers, windows, names),
        plots.attention_by_emotion({"audio": pd.DataFrame(np.ones((3, 4)), index=names)}, {"audio": np.arange(4.0)}),
        plots.system_intervals(rows),
    ]
    for figure in figures:
        texts = [text for text in figure.figure.findobj(Text) if "$" in text.get_text()]
        assert texts and not any(text._preprocess_math(text.get_text())[1] for text in texts), figure
        figure.figure.draw_without_rendering()


@pytest.fixture
def dropouts():
    accuracies = {"none": (94.0, 26.6, 39.1, 53.2), "softhard": (93.8, 62.5, 60.2, 72.2)}
    rows = [
        (kind, name, a) for kind, row in accuracies.items() for name, a in zip(("AV", "A", "V", "M"), row, strict=True)
    ]
    return pd.DataFrame(rows, columns=["dropout", "condition", "accuracy"])


def test_conditions_groups_bars_and_writes_their_values(dropouts):
    ax = plots.conditions(dropouts)
    heights = [[bar.get_height() for bar in bars] for bars in ax.containers]
    assert heights == [[94.0, 26.6, 39.1, 53.2], [93.8, 62.5, 60.2, 72.2]]
    middle = (ax.containers[0][1].get_x() + ax.containers[1][1].get_x() + ax.containers[1][1].get_width()) / 2
    assert middle == pytest.approx(1, abs=0.02)  # the two bars of A stand around its tick
    assert {"26.6", "72.2"} <= {text.get_text() for text in ax.texts}
    assert not ax.lines
    noisy = pd.DataFrame({"dropout": "none", "condition": ["V noise", "A noise"], "accuracy": [11.0, 22.0]})
    ax = plots.conditions(pd.concat([noisy, dropouts[dropouts.dropout == "none"]]))
    assert [bar.get_height() for bar in ax.containers[0]] == [94.0, 26.6, 39.1, 53.2, 22.0, 11.0]
    assert labels(ax.get_xticklabels())[4:] == ["A noise\nnoise for video", "V noise\nnoise for audio"]


def test_conditions_draws_its_yardsticks_at_their_heights(dropouts):
    reachable = {"AV": 100.0, "A": 62.5, "V": 62.5, "without an exchange": 33.3}
    ax = plots.conditions(dropouts, reachable, chance=12.5)
    *dashes, chance = ax.lines
    heights = [(np.mean(dash.get_xdata()), dash.get_ydata()[0]) for dash in dashes]
    assert heights == [(0, 100), (1, 62.5), (2, 62.5), (0, 33.3)]
    assert set(chance.get_ydata()) == {12.5}
    expected = ["best reachable", "expected without an exchange", "chance 12.5 %"]
    assert labels(ax.get_legend().get_texts()) == ["dropout: none", "dropout: softhard", *expected]


def test_a_table_of_scores_has_a_row_for_every_kind_and_the_mean_of_its_folds():
    rows = [(f"IA{kind} none", name, 10 * kind + fold) for kind in range(7) for name in ("V", "AV") for fold in (1, 4)]
    ax = plots.score_table(pd.DataFrame(rows, columns=["dropout", "condition", "accuracy"]))
    assert labels(ax.get_yticklabels()) == [f"IA{kind} none" for kind in range(7)]
    assert labels(ax.get_xticklabels()) == ["AV", "V"]
    assert labels(ax.texts)[:4] == ["2.5", "2.5", "12.5", "12.5"]


def test_sentiment_has_a_panel_for_each_condition_with_its_error(rng):
    label = rng.uniform(-3, 3, 97)
    errors = {"V": 2.0, "AV": 0.5, "A noise": 9.0, "A": 1.0}
    tables = [pd.DataFrame({"label": label, "value": label + error, "condition": c}) for c, error in errors.items()]
    figure = plots.sentiment(pd.concat(tables, ignore_index=True))
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["AV  both: MAE 0.50", "A  audio alone: MAE 1.00", "V  video alone: MAE 2.00"]
    assert len({ax.collections[0].get_clim() for ax in figure.axes}) == 1
    for ax in figure.axes:
        assert ax.collections[0].get_array().sum() == 97  # every clip is in one of the cells
        assert np.array_equal(ax.lines[0].get_xdata(), ax.lines[0].get_ydata())
        assert ax.get_xlim() == ax.get_ylim()


# training


def test_history_marks_the_best_epoch_and_the_learning_rates():
    rows = ((1, 30, True), (2, 71.5, True), (3, 50, False))
    table = pd.DataFrame([ROW | {"epoch": e, "validation_accuracy": a, "best": best} for e, a, best in rows])
    table.loc[2, "learning_rate"] = 0.004
    loss, accuracy = plots.history(table, ("mean absolute error", "sign right (%)")).axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("mean absolute error", "sign right (%)")
    assert accuracy.get_title(loc="left") == "best epoch 2: 71.5 %, loss 1.900"
    validation, ring = accuracy.lines[1:3]
    assert list(validation.get_ydata()) == [30, 71.5, 50]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (2, 71.5)
    assert [text.get_text().strip() for text in loss.texts] == ["0.004"]
    assert loss.texts[0].get_position()[0] == 3


def test_live_history_redraws_one_picture_with_its_labels(monkeypatch):
    calls = []
    monkeypatch.setattr(training, "get_ipython", object)
    for name in ("display", "update_display"):
        show = lambda picture, display_id, name=name: calls.append((name, display_id, picture))  # noqa: E731
        monkeypatch.setattr(training, name, show)
    curve = plots.LiveHistory(("mean absolute error", "sign right (%)"), 3)
    for epoch in (1, 2, 3):
        curve.add(ROW | {"epoch": epoch})
    assert list(curve.table["epoch"]) == [1, 2, 3] and plt.get_fignums() == []
    assert [name for name, _, _ in calls] == ["display", "update_display", "update_display"]
    assert len({display_id for _, display_id, _ in calls}) == 1
    assert list(calls[-1][2].axes[1].lines[1].get_xdata()) == [1, 2, 3]


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
        assert '<img alt="Figure: ' in cell.outputs[0]["data"]["text/html"]


def test_the_alternative_text_of_a_figure_has_its_titles_axes_and_legend():
    table = pd.DataFrame({"dropout": ["none", "hard <b>"], "condition": "AV", "accuracy": [50.0, 60.0]})
    figure = plots.conditions(table, {"AV": 90.0}, 12.5).figure
    figure.suptitle("two runs")
    shown = figure._repr_html_()
    assert shown.startswith('<img alt="Figure: two runs. upwards: accuracy (%). legend: dropout: none; hard &lt;b&gt;;')
    assert "best reachable; chance 12.5 %" in shown and shown.count("data:image/png;base64,") == 1


def test_save_takes_figures_and_axes_and_makes_the_folder(tmp_path, rng):
    ax = plots.features(rng.normal(size=(13, 43)), "audio")
    for drawn, name in ((ax, "axes.png"), (ax.figure, "figure.svg")):
        path = plots.save(drawn, tmp_path / "figures" / name)
        assert path == tmp_path / "figures" / name
        assert path.stat().st_size > 1000
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["axes.png", "figure.svg"]


# faithfulness


@pytest.fixture
def deletion():
    """Curves of two actors, one with two clips, and their areas."""
    from workbook.attention.faithfulness import area_summary, areas

    rows = [
        {"clip": clip, "actor": actor, "modality": "video", "order": order, "curve": curve, "share": share}
        for clip, actor in (("a", 1), ("b", 1), ("c", 2))
        for order in ("random", "attention")
        for curve in ("delete", "insert")
        for share in (0, 0.5, 1)
    ]
    table = pd.DataFrame(rows)
    falls = np.where(table["curve"] == "delete", 1 - table["share"], table["share"])
    table["score"] = (
        falls + 0.1 * (table["actor"] == 2) - 0.2 * ((table["order"] == "attention") & (table["share"] == 0.5))
    )
    random = pd.DataFrame({"modality": table["modality"].unique(), "low": -0.1, "high": 0.1})
    return table, area_summary(areas(table), random)


def test_curves_of_deletion_are_means_over_actors(deletion):
    figure = plots.deletion_curves(*deletion)
    delete, insert, between = figure.axes
    lines = {line.get_label(): line.get_ydata() for line in delete.lines}
    assert lines["random"] == pytest.approx([1.05, 0.55, 0.05])
    assert lines["attention"] == pytest.approx([1.05, 0.35, 0.05])
    assert delete.lines[0].get_xdata().tolist() == [0, 50, 100]
    assert insert.lines[0].get_ydata() == pytest.approx([0.05, 0.55, 1.05])
    assert insert.get_ylim() == delete.get_ylim() and insert.get_ylim()[0] < 0.05 and insert.get_ylim()[1] > 1.05
    dots = between.collections[-1].get_offsets()
    assert dots[:, 0].tolist() == pytest.approx(deletion[1]["between"].tolist())
    assert labels(between.get_yticklabels()) == ["random", "attention"]


def test_intervals_stand_in_their_rows():
    table = pd.DataFrame({"modality": ["audio", "video"], "pair": ["x", "y"], "mean": [0.1, -0.3]})
    ax = plots.intervals(table.assign(low=-0.4, high=0.2), ["modality", "pair"], "rho", (-1, 1)).axes[0]
    assert labels(ax.get_yticklabels()) == ["audio: x", "video: y"]
    assert np.array(ax.collections[-1].get_offsets()) == pytest.approx(np.array([[0.1, 0], [-0.3, 1]]))


def test_shuffled_layers_have_a_panel_per_modality_and_a_line_per_method():
    rows = [
        (layer, method, modality, mean, mean - 0.1, mean + 0.1)
        for layer, mean in (("none", 1.0), ("classifier", 0.2))
        for method in ("attention", "integrated gradients")
        for modality in ("audio", "video")
    ]
    figure = plots.shuffled_layers(pd.DataFrame(rows, columns=["layer", "method", "modality", "mean", "low", "high"]))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["audio", "video"]
    assert all(line.get_ydata().tolist() == [1.0, 0.2] for line in figure.axes[0].lines[1:])
    assert labels(figure.axes[1].get_xticklabels()) == ["none", "classifier"]


# statistics


@pytest.fixture
def systems():
    rows = [("IA1", "AV", 64.0, 58.0, 71.0, 24), ("IA1", "V", 38.0, 31.0, 46.0, 24), ("LT1", "AV", 62.0, 60.0, 63.0, 4)]
    return pd.DataFrame(rows, columns=["system", "condition", "value", "low", "high", "actors"])


@pytest.fixture
def pairs():
    rows = [
        ("a", "b", "AV", 5.0, 1.0, 9.0, 0.01, 24),
        ("a", "c", "AV", -2.0, -6.0, 2.0, 0.7, 24),
        ("b", "c", "AV", -7.0, -9.0, -5.0, 0.04, 5),
    ]
    return pd.DataFrame(rows, columns=["first", "second", "condition", "difference", "low", "high", "p_holm", "actors"])


def test_intervals_stand_at_their_values_in_the_row_of_their_system(systems):
    ax = plots.system_intervals(systems, chance=12.5)
    assert whiskers(ax) == ([(58, 71), (60, 63), (31, 46)], [False, True, False])
    points = {line.get_label(): line.get_xydata() for line in ax.lines if not line.get_label().startswith("_")}
    assert points["AV  both"][:, 0].tolist() == [64, 62] and points["V  video alone"][:, 0].tolist() == [38]
    assert [round(height) for height in points["AV  both"][:, 1]] == [0, 1]
    assert labels(ax.get_yticklabels()) == ["IA1", "LT1"] and ax.texts[0].get_text() == " chance 12.5"
    assert ax.get_xlabel().endswith(f"dotted: of fewer than {FEWEST_ACTORS}")
    assert plots.system_intervals(systems[systems.actors > 4]).get_xlabel().endswith("95 % intervals")


def test_a_difference_is_filled_where_holm_leaves_it(pairs):
    ax = plots.differences(pairs)
    assert whiskers(ax) == ([(1, 9), (-6, 2), (-9, -5)], [False, False, True])
    points = ax.collections[-1]
    assert points.get_offsets()[:, 0].tolist() == [5, -2, -7]
    assert [to_hex(colour) != "#ffffff" for colour in points.get_facecolors()] == [True, False, True]
    assert labels(ax.get_yticklabels()) == ["a less b", "a less c", "b less c"]
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
    assert bold == {"+5.0", "-5.0", "-7.0", "+7.0"}
    assert labels(second.texts).count("+0.0") == 4  # never -0.0


def test_a_ladder_draws_every_rung_and_step():
    rows = [
        ("random split of clips", "AV", 82.0, 77.0, 87.0, 24, 288, np.nan),
        ("split of actors", "AV", 75.0, 55.0, 90.0, 4, 240, -7.0),
        ("5 folds", "AV", 61.0, 56.0, 67.0, 24, 1440, -14.0),
    ]
    columns = ["rung", "condition", "value", "low", "high", "actors", "clips", "step"]
    ax = plots.ladder(pd.DataFrame(rows, columns=columns))
    assert ax.lines[0].get_ydata().tolist() == [82, 75, 61, 61]
    assert whiskers(ax, axis=1) == ([(77, 87), (55, 90), (56, 67)], [False, True, False])
    assert labels(ax.texts) == ["82.0", "75.0", "-7.0", "61.0", "-14.0"]
    assert ax.get_xticklabels()[1].get_text() == "split of actors\n240 clips, 4 actors"


# the paper's tables


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
    ends, dotted = whiskers(others, axis=1)
    assert ends == [(65, 75), (75, 85), (25, 35), (35, 45), (23, 33), (33, 43)]
    assert dotted == [False, True] * 3  # four actors
    assert not papers.collections
    heights = sorted(text.get_position()[1] for text in ours.texts if text.get_ha() == "right")
    assert len(heights) == 3 and np.diff(heights).min() >= 9  # numbers do not lie on each other
    with pytest.raises(InputError, match="there is no slope to draw"):
        plots.slopes(cells.query("dropout == 'softhard'"), "real")


def test_a_heatmap_has_ours_beside_the_papers_and_an_empty_cell_where_nothing_was_run(cells):
    cells.loc[cells["system"] == "IT1", "value"] = float("nan")
    figure = plots.system_heatmap(cells, "real", "title")
    ours, papers = figure.axes
    assert [ax.get_title() for ax in (ours, papers)] == ["ours (real)", "the paper"]
    assert len(ours.texts) == 4 * 4 and len(papers.texts) == 5 * 4 and ours.texts[0].get_text() == "70.0"
    assert labels(ours.get_yticklabels()) == ["none   IA1", "LT1", "softhard   IA1", "LT1", "IT1"]
    assert {ax.collections[0].get_clim() for ax in (ours, papers)} == {(0, 100)}
