"""Naming a class and scoring a sentiment: losses, what counts as right, and the metrics of CMU-MOSEI."""

import numpy as np
import pandas as pd
import pytest
import torch

from workbook.evaluate.metrics import confusions, labels_and_answers, metrics, per_emotion
from workbook.task import Classification, Sentiment

TRUTH = [-3.0, -0.4, 0.0, 0.0, 1.0, 2.4, 3.0]
SAID = [-1.0, 0.2, 0.1, -0.1, 2.0, 3.6, 2.6]


def rows(truth=TRUTH, said=SAID, condition="AV"):
    return pd.DataFrame({"condition": condition, "label": truth, "value": said})


def test_m_is_the_mean_of_every_metric_over_the_three_conditions():
    tables = [rows(said=np.array(SAID) + shift, condition=name) for name, shift in (("AV", 0), ("A", 1), ("V", -2))]
    measured = metrics(pd.concat(tables))
    assert measured["M"]["mae"] == pytest.approx(
        np.mean([measured["conditions"][name]["mae"] for name in ["AV", "A", "V"]])
    )
    assert set(measured["M"]) == set(measured["conditions"]["AV"]) - {"clips"}


def test_a_sentiment_is_rounded_to_one_of_seven_for_the_confusion_matrix():
    truth, answers = labels_and_answers(rows())
    assert truth.tolist() == [0, 3, 3, 3, 4, 5, 6] and answers.tolist() == [2, 3, 3, 3, 5, 6, 6]
    assert confusions(rows(), 7)["AV"].sum() == 7
    shares = per_emotion(rows(), Sentiment.names).set_index("emotion").accuracy
    assert shares["0"] == 100 and shares["−3"] == 0


def test_classes_are_learnt_by_cross_entropy_and_sentiment_by_absolute_error():
    logits, labels = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5]]), torch.tensor([0, 2])
    chances = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    task = Classification(("a", "b", "c"))
    torch.testing.assert_close(task.loss(logits, labels), -(chances[0, 0].log() + chances[1, 2].log()) / 2)
    assert (task.outputs, task.right(logits, labels)) == (3, (1, 2))
    torch.testing.assert_close(
        Sentiment().loss(torch.tensor([[1.0], [-2.0]]), torch.tensor([3.0, -1.0])), torch.tensor(1.5)
    )


def test_of_a_sentiment_only_what_is_not_neutral_can_be_right_or_wrong():
    right, counted = Sentiment().right(
        torch.tensor([[1.0], [-2.0], [-0.5], [1.0]]), torch.tensor([3.0, -1.0, 0.0, -1.0])
    )
    assert (int(right), int(counted)) == (2, 3)


def test_an_epoch_is_judged_by_accuracy_or_by_error():
    better, worse = (
        {"validation_accuracy": 60, "validation_loss": 2.0},
        {"validation_accuracy": 50, "validation_loss": 1.0},
    )
    assert Classification(("a", "b")).merit(better) > Classification(("a", "b")).merit(worse)
    assert Sentiment().merit(worse) > Sentiment().merit(better)
