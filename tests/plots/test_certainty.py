"""Figures of intervals, differences and ladders hold the numbers of their tables."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from workbook import InputError, plots
from workbook.plots.marks import FEWEST_ACTORS


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def of_systems():
    rows = [("IA1", "AV", 64.0, 58.0, 71.0, 24), ("IA1", "V", 38.0, 31.0, 46.0, 24), ("LT1", "AV", 62.0, 60.0, 63.0, 4)]
    return pd.DataFrame(rows, columns=["system", "condition", "value", "low", "high", "actors"])


@pytest.fixture
def of_pairs():
    rows = [
        ("a", "b", "AV", 5.0, 1.0, 9.0, 0.01, 24),
        ("a", "c", "AV", -2.0, -6.0, 2.0, 0.7, 24),
        ("b", "c", "AV", -7.0, -9.0, -5.0, 0.04, 5),
    ]
    return pd.DataFrame(rows, columns=["first", "second", "condition", "difference", "low", "high", "p_holm", "actors"])


def spans(ax, axis=0):
    """The ends of all whiskers, and whether each is dotted; axis : 0 = horizontal ones, 1 = vertical."""
    groups = [group for group in ax.collections if isinstance(group, LineCollection)]
    ends = [tuple(segment[:, axis].tolist()) for group in groups for segment in group.get_segments()]
    return ends, [dashes is not None for group in groups for _, dashes in group.get_linestyle()]


def test_intervals_stand_at_their_values_in_the_row_of_their_system(of_systems):
    ax = plots.system_intervals(of_systems, chance=12.5)
    assert spans(ax) == ([(58, 71), (60, 63), (31, 46)], [False, True, False])
    points = {line.get_label(): line.get_xydata() for line in ax.lines if not line.get_label().startswith("_")}
    assert points["AV  both"][:, 0].tolist() == [64, 62] and points["V  video alone"][:, 0].tolist() == [38]
    assert [round(height) for height in points["AV  both"][:, 1]] == [0, 1]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["IA1", "LT1"]
    assert (
        ax.get_xlabel().endswith(f"dotted: of fewer than {FEWEST_ACTORS}") and ax.texts[0].get_text() == " chance 12.5"
    )


def test_without_small_samples_no_warning_is_written(of_systems):
    assert plots.system_intervals(of_systems[of_systems.actors > 4]).get_xlabel().endswith("intervals of actors")


def test_a_difference_is_filled_where_holm_leaves_it(of_pairs):
    ax = plots.differences(of_pairs)
    assert spans(ax) == ([(1, 9), (-6, 2), (-9, -5)], [False, False, True])
    points = ax.collections[-1]
    assert points.get_offsets()[:, 0].tolist() == [5, -2, -7]
    assert [to_hex(colour) != "#ffffff" for colour in points.get_facecolors()] == [True, False, True]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a less b", "a less c", "b less c"]


def test_of_several_conditions_each_row_says_which(of_pairs):
    ax = plots.differences(pd.concat([of_pairs, of_pairs.assign(condition="V")]))
    assert [label.get_text() for label in ax.get_yticklabels()][::3] == ["a less b   AV", "a less b   V"]


def test_the_matrix_is_row_less_column_and_bold_where_holm_leaves_it(of_pairs):
    ax = plots.difference_matrix(of_pairs)
    shown = ax.collections[0].get_array().filled(np.nan).reshape(3, 3)
    expected = np.array([[np.nan, 5, -2], [-5, np.nan, -7], [2, 7, np.nan]])
    np.testing.assert_array_equal(shown, expected)
    bold = {text.get_text() for text in ax.texts if text.get_fontweight() == "bold"}
    assert bold == {"+5.0", "-5.0", "-7.0", "+7.0"}
    low, high = ax.collections[0].get_clim()
    assert low == -high == -7


def test_a_matrix_of_several_conditions_is_refused(of_pairs):
    with pytest.raises(InputError, match="shows one condition"):
        plots.difference_matrix(pd.concat([of_pairs, of_pairs.assign(condition="V")]))


def test_a_ladder_draws_every_rung_and_step():
    rows = [
        ("random split of clips", "AV", 82.0, 77.0, 87.0, 24, 288, np.nan),
        ("split of actors", "AV", 75.0, 55.0, 90.0, 4, 240, -7.0),
        ("5 folds", "AV", 61.0, 56.0, 67.0, 24, 1440, -14.0),
    ]
    columns = ["rung", "condition", "value", "low", "high", "actors", "clips", "step"]
    ax = plots.ladder(pd.DataFrame(rows, columns=columns))
    assert ax.lines[0].get_ydata().tolist() == [82, 75, 61, 61]
    assert spans(ax, axis=1) == ([(77, 87), (55, 90), (56, 67)], [False, True, False])
    assert [text.get_text() for text in ax.texts] == ["82.0", "75.0", "-7.0", "61.0", "-14.0"]
    assert ax.get_xticklabels()[1].get_text() == "split of actors\n240 clips, 4 actors"


def test_matrices_side_by_side_share_one_scale_and_hold_row_less_column(of_pairs):
    other = of_pairs.assign(difference=[-11.0, 0.02, -0.02])
    figure = plots.difference_matrices({"none": of_pairs, "softhard": other}, "title")
    first, second = figure.axes
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["none", "softhard"]
    scales = {tuple(ax.collections[0].get_clim()) for ax in (first, second)}
    assert scales == {(-11, 11)}
    texts = [text.get_text() for text in first.texts]
    assert texts == ["+5.0", "-2.0", "-5.0", "-7.0", "+2.0", "+7.0"]
    bold = [text.get_text() for text in first.texts if text.get_fontweight() == "bold"]
    assert bold == ["+5.0", "-5.0", "-7.0", "+7.0"]
    assert [text.get_text() for text in second.texts].count("+0.0") == 4  # never -0.0


@pytest.fixture
def of_cells():
    """Cells of two systems that have both dropouts, and of one that has softhard alone."""
    systems = [("none", "IA1", 20), ("none", "LT1", 20), ("softhard", "IA1", 20), ("softhard", "LT1", 4)]
    rows = [
        (dropout, system, condition, value + 10 * (dropout == "softhard"), actors)
        for dropout, system, actors in [*systems, ("softhard", "IT1", 20)]
        for condition, value in (("AV", 70.0), ("A", 30.0), ("V", 28.0), ("M", 42.0))
    ]
    cells = pd.DataFrame(rows, columns=["dropout", "system", "condition", "value", "actors"]).assign(metric="accuracy")
    return cells.assign(low=cells["value"] - 5, high=cells["value"] + 5, paper=cells["value"] + 3)


def lines(ax):
    return [line.get_ydata().tolist() for line in ax.lines]


def test_a_slope_goes_from_none_to_softhard_and_the_papers_stand_in_a_row_of_their_own(of_cells):
    figure = plots.slopes(of_cells, "real", "REAL DATA")
    ours, others, papers, _ = figure.axes
    assert [ax.get_title() for ax in figure.axes[:2]] == ["IA1", "LT1"]  # IT1 has no run without dropout
    assert lines(ours) == [[70, 80], [30, 40], [28, 38]] and lines(papers) == [[73, 83], [33, 43], [31, 41]]
    assert "ours (real)" in ours.get_ylabel() and "the paper" in papers.get_ylabel()
    ends, dotted = spans(others, axis=1)
    assert ends == [(65, 75), (75, 85), (25, 35), (35, 45), (23, 33), (33, 43)]
    assert dotted == [False, True] * 3  # four actors
    assert not papers.collections


def test_toys_have_no_row_of_the_paper_and_another_colour(of_cells):
    figure = plots.slopes(of_cells.assign(paper=float("nan")), "toy")
    assert len(figure.axes) == 2 and "ours (toy)" in figure.axes[0].get_ylabel()
    assert figure.axes[0].yaxis.label.get_color() == plots.ORIGIN_COLOUR["toy"] != plots.ORIGIN_COLOUR["real"]


def test_numbers_beside_a_slope_do_not_lie_on_each_other(of_cells):
    ax = plots.slopes(of_cells, "real").axes[0]
    heights = sorted(text.get_position()[1] for text in ax.texts if text.get_ha() == "right")
    assert len(heights) == 3 and np.diff(heights).min() >= 9


def test_without_a_pair_of_dropouts_there_is_no_slope(of_cells):
    with pytest.raises(InputError, match="there is no slope to draw"):
        plots.slopes(of_cells.query("dropout == 'softhard'"), "real")


def test_a_heatmap_has_ours_beside_the_papers_and_an_empty_cell_where_nothing_was_run(of_cells):
    of_cells.loc[of_cells["system"] == "IT1", "value"] = float("nan")
    figure = plots.system_heatmap(of_cells, "real", "title")
    ours, papers = figure.axes
    assert [ax.get_title() for ax in (ours, papers)] == ["ours (real)", "the paper"]
    assert len(ours.texts) == 4 * 4 and len(papers.texts) == 5 * 4 and ours.texts[0].get_text() == "70.0"
    names = [label.get_text() for label in ours.get_yticklabels()]
    assert names == ["none   IA1", "LT1", "softhard   IA1", "LT1", "IT1"]
    assert {tuple(ax.collections[0].get_clim()) for ax in (ours, papers)} == {(0, 100)}
