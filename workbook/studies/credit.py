"""Whose credit? What sound and picture each add to what a network knows: the Shapley value of two players.

v is what a network is worth with both (AV), one (A, V) or neither (none): its accuracy, or the label's probability.

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

from workbook import InputError
from workbook.evaluate.conditions import Condition, Gone, Intact, Nothing
from workbook.evaluate.statistics import Systems
from workbook.studies.study import Study, estimate, mean_of, of, per_clip, probabilities, right
from workbook.train.batches import Clips

CREDIT, CASES = ("sound", "picture", "together"), ("only both", "either", "spoiled")
VALUES = ("accuracy", "probability")


def conditions(clips: Clips) -> list[Condition]:
    """Both; sound alone; picture alone; neither."""
    return [Intact(), Gone("video"), Gone("audio"), Nothing()]


def shares(table: pd.DataFrame, conditions: Sequence[Condition], value: str = "accuracy") -> pd.DataFrame:
    """A row per clip: clip, actor, label, CREDIT, and of accuracies CASES, 1 = it is one. Of several seeds, means.

    value : accuracy (1 = right), or probability, of the label
    Raises InputError for another value, and where a condition is missing.
    """
    if value not in VALUES:
        raise InputError(f"value is '{value}': choose one of {', '.join(VALUES)}")
    chances = right(table) if value == "accuracy" else _of_the_label(table)
    clips, (both, sound, picture, none) = per_clip(table, chances), [one.name for one in conditions]
    missing = [name for name in (both, sound, picture, none) if name not in clips]
    if missing:
        raise InputError(f"credit is shared by four conditions: '{missing[0]}' has no predictions")
    v, clips = clips[[both, sound, picture, none]].to_numpy().T, clips[["clip", "actor", "label"]]
    clips = clips.assign(sound=(v[1] - v[3] + v[0] - v[2]) / 2, picture=(v[2] - v[3] + v[0] - v[1]) / 2)
    clips = clips.assign(together=v[0] - v[1] - v[2] + v[3])
    if value == "probability":
        return clips
    neither = (1 - v[1]) * (1 - v[2])
    cases = v[0] * neither, v[0] * v[1] * v[2], (1 - v[0]) * (1 - neither)
    return clips.assign(**dict(zip(CASES, cases, strict=True)))


def _of_the_label(table: pd.DataFrame):
    return probabilities(table)[range(len(table)), table["label"].to_numpy(int)]


def table(systems: Systems, conditions: Sequence[Condition], value: str = "accuracy") -> pd.DataFrame:
    """The shares of credit in points: over all clips, of each label and of each actor.

    A row per system, group and measure (CREDIT in points, CASES in percent of the clips).
    by : all | label | actor      group : which, as text
    value : as in `shares`
    """
    rows = []
    for name, system in systems.items():
        clips = shares(system, conditions, value)
        groups = [("all", "", clips)]
        groups += [(by, str(group), own) for by in _groups(system) for group, own in clips.groupby(by)]
        for by, group, own in groups:
            for measure in CREDIT + CASES * (value == "accuracy"):
                about = {"system": name, "condition": "", "by": by, "group": group, "measure": measure}
                rows.append(about | estimate(own, mean_of(measure, 100)))
    return pd.DataFrame(rows)


def _groups(table: pd.DataFrame) -> tuple[str, ...]:
    return ("actor",) if "value" in table else ("label", "actor")  # sentiment has no classes


def sentence(table: pd.DataFrame) -> str:
    """Whose credit the accuracy is, and whether both are needed: a line for each system."""
    lines = []
    for system, own in of(table, by="all").groupby("system", sort=False):
        points = own.set_index("measure")["value"]
        lines.append(
            f"In {system} sound earns {points['sound']:.0f} points and picture {points['picture']:.0f}; "
            f"their interaction is {points['together']:+.0f}. "
            f"{points['only both']:.0f} % of the clips need both, for {points['either']:.0f} % either is enough, "
            f"{points['spoiled']:.0f} % are spoiled."
        )
    return "\n".join(lines)


STUDY = Study("Whose credit is it?", conditions, table, sentence)
