"""A system beside the same one trained with even attention."""

from types import SimpleNamespace

import pytest
from drawn_predictions import predictions

from workbook.run.even_attention import even_sentence, trained_both_ways
from workbook.run.parameters import Parameters


@pytest.fixture
def run(tmp_path):
    """A run whose system has predictions of three seeds, and two of them with even attention."""
    for even, seeds, right in ((False, (1, 2, 3), 1.0), (True, (2, 3), 0.5)):
        for seed in seeds:
            config = Parameters(outputs_root=str(tmp_path), dropout="none", seed=seed, even_attention=even)
            config.folder.mkdir(parents=True)
            drawn = predictions((right, 0.3, 0.3), seed=seed, clips=32)
            drawn.to_parquet(config.folder / "predictions.parquet")
    parameters = Parameters(outputs_root=str(tmp_path), dropout="none", seed=1)
    return SimpleNamespace(parameters=parameters, folder=parameters.folder)


def test_the_two_trainings_are_compared_where_both_have_the_same_seeds(run):
    sides = trained_both_ways(run)
    assert {name: set(table["seed"]) for name, table in sides.items()} == {"learnt": {2, 3}, "even": {2, 3}}
    right = sides["even"].query("condition == 'AV'").eval("(p1 > p0) == (label == 1)").mean()
    sentence = even_sentence(run)
    assert f"**{100 - 100 * right:+.1f} points**" in sentence
    assert f"100.0 % are right with it, {100 * right:.1f} % after training" in sentence and "(2 of each)" in sentence


def test_without_a_training_with_even_attention_the_sentence_says_how_to_make_one(run):
    alone = SimpleNamespace(parameters=run.parameters.model_copy(update={"heads": 4}), folder=run.folder)
    assert even_sentence(alone).endswith("train it with `-p even_attention true`.")
