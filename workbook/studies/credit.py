"""Whose credit? What sound and picture each add to what a network knows: the Shapley value of two players.

v is what a network is worth with both (AV), one (A, V) or neither (none): its accuracy.

    sound    = ((v(A) - v(none)) + (v(AV) - v(V))) / 2
    picture  = ((v(V) - v(none)) + (v(AV) - v(A))) / 2
    together = v(AV) - v(A) - v(V) + v(none)

Sound and picture add up to v(AV) - v(none). `together` is the interaction of the two: above 0 where they bring more
together than one by one, below 0 where they bring less. Less may be redundancy (each alone is enough), or harm (a right
answer from one is spoiled by the other). So three shares of the clips say which:

    only both = right with both, wrong with either alone
    either    = right with both, and with either alone
    spoiled   = wrong with both, right with one of them alone

Sources: Shapley (1953); Grabisch and Roubens, An axiomatic approach to the concept of interaction (Int. J. Game Theory
28, 1999).
"""

from collections.abc import Sequence

import pandas as pd

from workbook.evaluate.conditions import Both, Condition, Gone, Intact
from workbook.evaluate.metrics import right
from workbook.studies.estimates import Row, estimates, per_clip, points_of, select, share_of
from workbook.train.batches import Clips

CREDIT, CASES = ("sound", "picture", "together"), ("only both", "either", "spoiled")
METRICS = {name: points_of(name) for name in CREDIT} | {name: share_of(name) for name in CASES}


def conditions(clips: Clips) -> list[Condition]:
    """Both; sound alone; picture alone; neither."""
    return [Intact(), Gone("video"), Gone("audio"), Both(Gone("audio"), Gone("video"))]


def shares(predictions: pd.DataFrame, conditions: Sequence[Condition]) -> pd.DataFrame:
    """A row per clip and training: clip, actor, label, seed, CREDIT, and CASES, 1 = the clip is such a case."""
    clips = per_clip(predictions, right(predictions))
    both, sound, picture, none = clips[[condition.name for condition in conditions]].to_numpy().T  # v in each condition
    neither = (1 - sound) * (1 - picture)
    return clips.drop(columns=[condition.name for condition in conditions]).assign(
        **{
            "sound": (sound - none + both - picture) / 2,
            "picture": (picture - none + both - sound) / 2,
            "together": both - sound - picture + none,
            "only both": both * neither,
            "either": both * sound * picture,
            "spoiled": (1 - both) * (1 - neither),
        }
    )


def results(predictions: pd.DataFrame, conditions: Sequence[Condition]) -> list[Row]:
    """The shares of credit of accuracy: over all clips, of each label and of each actor.

    A row per group and measure (CREDIT in points, CASES in percent of the clips).
    by : all | label | actor      group : which, as text
    """
    clips = shares(predictions, conditions)
    groups = [("all", "", clips)]
    for by in ("actor",) if "value" in predictions else ("label", "actor"):  # sentiment has no classes
        groups += [(by, str(group), own) for group, own in clips.groupby(by)]
    return [
        row for by, group, own in groups for row in estimates({"condition": "", "by": by, "group": group}, own, METRICS)
    ]


def line(system: str, rows: pd.DataFrame) -> str:
    """Whose credit the accuracy is, and whether both are needed."""
    points = select(rows, by="all").set_index("measure")["value"]
    return (
        f"**{points['sound']:.0f} points** by sound, **{points['picture']:.0f}** by picture, with an interaction of "
        f"**{points['together']:+.0f}**: the credit in {system}. "
        f"{points['only both']:.0f} % of the clips need both, for {points['either']:.0f} % either is enough, "
        f"{points['spoiled']:.0f} % are spoiled."
    )
