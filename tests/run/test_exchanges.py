"""What an exchange buys: the table of runs and its figure."""

import pytest
from sweeps import finished_run

from workbook import plots
from workbook.files import write_json
from workbook.run.exchanges import KINDS, exchange_table
from workbook.run.results import all_runs


@pytest.fixture
def table(tmp_path):
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


def test_each_fusion_has_a_row_per_corpus_with_what_it_buys_and_costs(table):
    rows = table.set_index(["corpus", "fusion"])
    speaker, mosei = "toy speakers' features", "toy MOSEI"
    assert list(rows.index) == [(speaker, "concat"), (speaker, "film"), (speaker, "ia"), (mosei, "concat")]
    assert rows.loc[(speaker, "ia"), ["value", "low", "high", "runs"]].tolist() == [98, 97, 99, 2]
    assert rows["kind"].tolist() == [*KINDS, KINDS[0]]
    exchange = {"film": 128 * 128 + 128 + 64 * 256 + 256, "ia": 128 * 128 + 64 * 128 + 64 * 64 + 128 * 64, "concat": 0}
    assert all(row.weights == exchange[row.fusion] for row in table.itertuples())
    assert rows["time"].tolist() == [1.0, 1.25, 1.5, 1.0]


def test_the_figure_has_a_panel_per_corpus_and_two_of_costs(table):
    first, second, weights, time = plots.exchanges(table, {"toy MOSEI": 50}).axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["concat", "film", "ia"]
    assert first.collections[-1].get_offsets()[:, 0].tolist() == [32, 99, 98]
    assert [bar.get_width() for bar in time.patches] == [1.0, 1.25, 1.5]
    assert weights.patches[2].get_width() == pytest.approx(36.864)
    assert second.lines[0].get_xdata()[0] == 50
