"""What the tables of an evaluation show, each in one sentence of Markdown with its number first."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from workbook.evaluate.statistics import RESAMPLES, basis
from workbook.text import in_markdown


def accuracy_lost(scores: pd.DataFrame) -> str:
    """How much accuracy each condition loses against AV; scores : as `metrics.score_table` makes it."""
    accuracy = scores["accuracy"]
    if "AV" not in accuracy:
        return "No clip has both modalities, so there is nothing to compare with."
    lost = (accuracy["AV"] - accuracy.drop(["AV", "M"], errors="ignore")).sort_values(ascending=False)
    losses = ", ".join(f"**{points:.1f}** in {name}" for name, points in lost.items())
    return f"{losses}: points of accuracy lost against AV."


def gains(table: pd.DataFrame) -> str:
    """What one system gains over another, and the smallest p: of swaps the one that so few actors can give.

    table : the rows of one pair, as `statistics.differences` makes them
    """
    points = ", ".join(f"**{row.difference:+.1f}** in {row.condition}" for row in table.itertuples())
    first, (better, other) = table.iloc[0], map(in_markdown, table.iloc[0][["first", "second"]])
    sentence = f"{points}: points gained with {better} over {other}."
    if first["test"] == "t":
        return f"{sentence} **{table['p'].min():.2g}** is the smallest p, of a t-test ({basis(first)})."
    actors = table["actors"].min()
    smallest = f"**{max(2 / 2**actors, 2 / (RESAMPLES + 1)):.3g}** is the smallest p that swaps of {actors} actors"
    return f"{sentence} {smallest} can give, however large the gain."


def recognised(recalls: pd.DataFrame) -> str:
    """How many frames of each split are named right, and which name is recognised most and least often.

    recalls : as `pretraining.recalls` makes it
    The intervals (Wilson's, 95 %) take frames for independent: those of one person are not.
    """
    sentences = []
    for split, rows in recalls.groupby("split", sort=False):
        right, frames = rows["right"].sum(), rows["frames"].sum()
        low, high = 100 * np.array(binomtest(right, frames).proportion_ci(method="wilson"))
        recall = rows.set_index("name")["recall"]
        most, least = (f"{in_markdown(name)} **{recall[name]:.0f} %**" for name in (recall.idxmax(), recall.idxmin()))
        sentences.append(
            f"**{right} of {frames}** {split} frames are named right, **{100 * right / frames:.1f} %** "
            f"({low:.1f} to {high:.1f} over frames): of {most}, the most, of {least}, the least."
        )
    return " ".join(sentences)


def frequent_mistakes(counts: dict[str, np.ndarray], names: Sequence[str]) -> str:
    """The most frequent mistake of each condition, the largest number first.

    counts : (classes, classes) clips by true and predicted class, by condition      names : of the classes
    """
    mistakes = []
    for condition, table in counts.items():
        wrong = table - np.diag(table.diagonal())
        true, predicted = np.unravel_index(wrong.argmax(), wrong.shape)
        if wrong.any():
            answer, truth = (in_markdown(names[place]) for place in (predicted, true))
            mistakes.append((wrong.max(), f"{truth} is taken for {answer} in {condition}"))
    mistakes.sort(key=lambda mistake: -mistake[0])
    parts = ", ".join(f"**{times} {'time' if times == 1 else 'times'}** {words}" for times, words in mistakes)
    return f"{parts}: the most frequent mistakes." if mistakes else "There is no mistake."


def widest_difference(recalls: pd.DataFrame) -> str:
    """The emotion whose recall differs most between conditions; recalls : as `metrics.per_emotion` makes it."""
    table = recalls.pivot(index="emotion", columns="condition", values="accuracy")
    emotion = (table.max(axis=1) - table.min(axis=1)).idxmax()
    values = ", ".join(f"**{table.loc[emotion, name]:.0f} %** in {name}" for name in recalls["condition"].unique())
    return f"{values}: the conditions differ most for {in_markdown(emotion)}."
