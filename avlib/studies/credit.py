"""Whose credit? What sound and picture each add to what a network knows: the Shapley value of two players.

v is what a network is worth with both (AV), one (A, V) or neither (none): its accuracy, or the label's probability.

    sound    = ((v(A) - v(none)) + (v(AV) - v(V))) / 2
    picture  = ((v(V) - v(none)) + (v(AV) - v(A))) / 2
    together = v(AV) - v(A) - v(V) + v(none)

Sound and picture add up to v(AV) - v(none). `together` is above 0 where the two say more than each by itself (synergy),
and below 0 where they say the same (redundancy). Sources: Shapley (1953); Grabisch and Roubens, An axiomatic approach
to the concept of interaction (Int. J. Game Theory 28, 1999).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from avlib import InputError
from avlib.batches import Clips
from avlib.conditions import BOTH, Condition, Context, Intact
from avlib.dropout import Modalities
from avlib.lab.statistics import Systems
from avlib.studies.gone import Gone
from avlib.studies.study import Study, estimate, mean_of, of, per_clip, probabilities, right

SHARES = ("sound", "picture", "together", "synergy", "redundancy")
VALUES = ("accuracy", "probability")


@dataclass(frozen=True)
class Nothing:
    """`none`: neither sound nor picture; what a network says without any evidence."""

    name: str = "none"
    needs, removes = BOTH, ()  # it removes all, and counts

    def __call__(self, audio: torch.Tensor, video: torch.Tensor, context: Context) -> Modalities:
        return None, None


def conditions(clips: Clips) -> list[Condition]:
    """Both; sound alone; picture alone; neither."""
    return [Intact(), Gone("video"), Gone("audio"), Nothing()]


def shares(table: pd.DataFrame, conditions: Sequence[Condition], value: str = "accuracy") -> pd.DataFrame:
    """A row per clip: clip, actor, label, and its sound, picture, together, synergy and redundancy.

    value : accuracy (1 = right), or probability, of the label
    synergy, redundancy : `together` where it is above 0, and its size where it is below
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
    together = v[0] - v[1] - v[2] + v[3]
    clips = clips.assign(sound=(v[1] - v[3] + v[0] - v[2]) / 2, picture=(v[2] - v[3] + v[0] - v[1]) / 2)
    return clips.assign(together=together, synergy=together.clip(min=0), redundancy=(-together).clip(min=0))


def _of_the_label(table: pd.DataFrame):
    return probabilities(table)[range(len(table)), table["label"].to_numpy(int)]


def table(systems: Systems, conditions: Sequence[Condition], value: str = "accuracy") -> pd.DataFrame:
    """The shares of credit in points: over all clips, of each label and of each actor.

    A row per system, group and measure (one of SHARES). by : all | label | actor      group : which, as text
    value : as in `shares`
    """
    rows = []
    for name, system in systems.items():
        clips = shares(system, conditions, value)
        groups = [("all", "", clips)]
        groups += [(by, str(group), own) for by in _groups(system) for group, own in clips.groupby(by)]
        for by, group, own in groups:
            for measure in SHARES:
                about = {"system": name, "condition": "", "by": by, "group": group, "measure": measure}
                rows.append(about | estimate(own, mean_of(measure, 100)))
    return pd.DataFrame(rows)


def _groups(table: pd.DataFrame) -> tuple[str, ...]:
    return ("actor",) if "value" in table else ("label", "actor")  # sentiment has no classes


def sentence(table: pd.DataFrame) -> str:
    """Whose credit the accuracy is, and whether the two say the same."""
    said = []
    for system, own in of(table, by="all").groupby("system", sort=False):
        points = own.set_index("measure")["value"]
        said.append(
            f"in {system} sound earns {points['sound']:.0f} points and picture {points['picture']:.0f} (synergy "
            f"{points['synergy']:.0f}, redundancy {points['redundancy']:.0f})"
        )
    return f"Of the accuracy beyond that without evidence, {'; '.join(said)}."


STUDY = Study("Whose credit is it?", conditions, table, sentence)
