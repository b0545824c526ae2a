"""What a network says of a clip of your own, and what to know before believing it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch

from avlib.model import AudiovisualNet
from workbook import InputError
from workbook.data.store import PROBLEM_COLUMNS, Store
from workbook.data.window import WINDOW
from workbook.evaluate.conditions import paper_conditions
from workbook.evaluate.evaluation import predict
from workbook.predict.windows import Windows
from workbook.task import Classification
from workbook.train.batches import Clips

NEEDED = {"AV": ("audio", "video"), "A": ("audio",), "V": ("video",)}  # condition -> what it answers from
MEANING = {"AV": "sound and picture", "A": "sound alone", "V": "picture alone"}


@dataclass(frozen=True)
class Learnt:
    """Where a network has learnt, and how well it does there."""

    corpus: str  # its title
    drawn: bool  # True = a toy corpus, of drawn faces and synthesised voices
    labels: tuple[str, ...]
    dropout: str = "none"  # the modality dropout that it was trained with
    accuracy: dict[str, float] = field(default_factory=dict)  # in percent, by condition, on the test clips
    clips: dict[str, int] = field(default_factory=dict)  # the number of test clips, by condition
    people_met: bool = False  # True = the people of its test were met in training

    def sentences(self) -> list[str]:
        """What to know before reading an answer."""
        made = ["It has seen only drawn faces and heard only synthesised voices."] if self.drawn else []
        warning = ["What it says of a real face or a real voice means nothing."] if self.drawn else []
        return [
            f"This network has learnt from one corpus: {self.corpus}.",
            *made,
            *warning,
            self._skill(),
            "It names what a face and a voice show, as the people of its corpus showed it. Acted emotion is not felt "
            "emotion: no answer says what somebody feels.",
        ]

    def _skill(self) -> str:
        if not self.accuracy:
            return "It has not been evaluated: nobody knows how well it does."
        who = "whom it had met in training" if self.people_met else "whom it had never met"
        said = [
            f"{self.accuracy[name]:.1f} % from {MEANING[name]} ({count} clips)" for name, count in self.clips.items()
        ]
        guess = f"guessing gives {100 / len(self.labels):.1f} %"
        return f"Its right answers on test clips of people {who}: {', '.join(said)}; {guess}."


def answers(net: AudiovisualNet, windows: Windows, learnt: Learnt, device: str | torch.device = "cpu") -> pd.DataFrame:
    """The probability of each label in each window: columns window, start and end in seconds, condition, the labels.

    Conditions are AV, A and V, or the one that a network of a single branch has. A window that lacks a modality has no
    row in a condition that needs it. The middle window of a test clip has the very numbers of `evaluate`'s predictions:
    on the same processor, with the same number of threads, and where the network was not trained with noise.
    Raises InputError where the network reads none of what the clip has.
    """
    clips = _clips(net, windows, learnt, device)
    wanted = [one for one in paper_conditions(learnt.dropout) if one.name in _conditions(net)]
    table = predict(net, clips, wanted, fold=0, seed=0, batch_size=8)
    has = {"audio": windows.has_audio, "video": windows.has_video}
    row = table["clip"].to_numpy(int)
    kept = [
        all(has[name][k] for name in NEEDED[condition]) for k, condition in zip(row, table["condition"], strict=True)
    ]
    if not any(kept):
        wants = " and ".join("sound" if name == "audio" else "a picture" for name in net.fusion.modalities)
        raise InputError(f"this network reads {wants} alone, of which {windows.name} has nothing that can be used")
    start = windows.starts[row]
    named = table.filter(regex=r"^p\d+$").set_axis(learnt.labels, axis="columns")
    found = pd.DataFrame({"window": row, "start": start, "end": start + WINDOW, "condition": table["condition"]})
    return pd.concat([found, named], axis="columns")[kept].reset_index(drop=True)


def _conditions(net: AudiovisualNet) -> list[str]:
    """The conditions that a network can tell apart: of one branch alone, its own."""
    read = {*net.fusion.modalities}
    return [name for name, needs in NEEDED.items() if ({*needs} == read if len(read) == 1 else {*needs} <= read)]


def _clips(net: AudiovisualNet, windows: Windows, learnt: Learnt, device: str | torch.device) -> Clips:
    """The windows as clips of a store in memory: they take the very way of the clips of a corpus."""
    count = len(windows.starts)
    table = pd.DataFrame({"clip": np.arange(count).astype(str), "actor": 0, "label": 0})
    table = table.assign(has_audio=windows.has_audio, has_video=windows.has_video)
    problems = pd.DataFrame(columns=PROBLEM_COLUMNS)
    store = Store(None, table, windows.video, windows.audio, problems, {})
    task = Classification(learnt.labels)
    return Clips(store, np.arange(count), np.zeros(count, int), task, device, net.fusion.modalities)


def mean_answers(table: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """The mean probabilities over the windows, one row per condition; table : as `answers` makes it."""
    return table.groupby("condition", sort=False)[list(labels)].mean()


def middle_answers(table: pd.DataFrame, labels: Sequence[str], windows: Windows) -> pd.DataFrame:
    """The probabilities of the middle window, one row per condition: what `evaluate` says of a test clip."""
    return table[table["window"] == windows.middle].set_index("condition")[list(labels)]


def top_answers(table: pd.DataFrame, labels: Sequence[str], windows: Windows) -> pd.DataFrame:
    """The likeliest label of each window with its probability, a column per condition; "" where there is no answer."""
    values = table[list(labels)]
    best = zip(values.idxmax(axis=1), values.max(axis=1), strict=True)
    said = [f"{label} {100 * value:.0f} %" for label, value in best]
    wide = table.assign(said=said).pivot(index="window", columns="condition", values="said")
    wide = wide[list(dict.fromkeys(table["condition"]))].reindex(range(len(windows.starts))).fillna("")
    seconds = [f"{start:.1f} to {start + WINDOW:.1f} s" for start in windows.starts]
    return wide.set_axis(seconds).rename_axis(columns=None)


def summary(table: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    """One sentence per condition with the answer: of one window, or the mean of several."""
    several = table["window"].nunique() > 1
    said = []
    for condition, row in mean_answers(table, labels).iterrows():
        first, second = row.nlargest(2).items()
        mean = "on the mean of all windows, " if several else ""
        told = f"{first[0]} ({100 * first[1]:.0f} %), then {second[0]} ({100 * second[1]:.0f} %)"
        said.append(f"{condition}, from {MEANING[condition]}: {mean}{told}.")
    return said


def remarks(windows: Windows) -> list[str]:
    """What was seen and heard, and what could not be used, in sentences."""
    said = [f"{reason}." for reason in windows.notes]
    if not windows.has_video.any():
        return [*said, "There is no face to go by, so the answer comes from the sound alone."]
    if not windows.has_audio.any():
        said.append("There is no sound to go by, so the answer comes from the picture alone.")
    seen = int(windows.seen.sum())
    said.append(f"A face was seen in {seen} of {windows.shown} frames{_number(windows.faces)}.")
    if windows.others:
        times = ", ".join(f"{time:.1f}" for time in windows.others)
        said.append(f"At {times} s the followed face was out of sight, and the largest one there was followed instead.")
    gaps = int((~windows.has_video).sum())
    if gaps:
        without = f"{gaps} of {len(windows.starts)} windows have no answer from the picture"
        said.append(f"{without}: too few of their frames show a face.")
    return said


def _number(faces: int) -> str:
    return f", up to {faces} at once; the largest was followed" if faces > 1 else ", never two at once"


def as_record(windows: Windows, table: pd.DataFrame, learnt: Learnt) -> dict:
    """All of it as plain data, for a JSON file: first what to know, then the clip, then the probabilities.

    Of each window, each condition has a probability per label, or null where the window lacks what it needs.
    """
    labels = list(learnt.labels)

    def told(rows: pd.DataFrame) -> dict:
        """condition -> label -> probability; None where there is no row"""
        found = rows.set_index("condition")[labels].astype(float).to_dict("index")
        return {condition: found.get(condition) for condition in NEEDED}

    each = [
        {"start": float(start), "end": float(start + WINDOW), **told(table[table["window"] == window])}
        for window, start in enumerate(windows.starts)
    ]
    return {
        "know_first": learnt.sentences(),
        "learnt_from": {"corpus": learnt.corpus, "toy": learnt.drawn, "accuracy": learnt.accuracy},
        "clip": windows.name,
        "seconds": windows.seconds,
        "remarks": remarks(windows),
        "faces": windows.faces,
        "labels": labels,
        "mean": told(mean_answers(table, labels).reset_index()),
        "middle": windows.middle,
        "windows": each,
    }
