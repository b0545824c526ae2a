"""The content of the explorer's figure: one changed clip under one or two networks.

`figure.clip_figure` draws it with matplotlib, widget.js in a browser.
"""

from dataclasses import dataclass

import numpy as np

from workbook.attention import vectors
from workbook.explore.probe import Answer, Span
from workbook.plots.attention import map_reach
from workbook.plots.clock import Clock


@dataclass(frozen=True)
class View:
    """One changed clip under one or two networks, without its pictures."""

    answers: dict[str, Answer]  # by the name of the network
    before: dict[str, Answer]  # the same, before the clip was changed
    names: list[str]  # of the outputs: the classes, or one name for a score
    truth: str  # one of the names, or the true score
    title: str  # the clip and its changes
    clock: Clock
    cues: dict[str, Span]  # true spans of face and voice, where they are known
    masked: dict[str, tuple[Span, ...]]  # spans of zeros, by modality
    scores: dict[str, np.ndarray]  # integrated gradients of the first network, by modality; {} = not computed
    map_choice: tuple[str, int] | None  # direction and head (from 0) of the attention map

    @property
    def conditions(self) -> list[str]:
        """The conditions under which a network answers, in the order of the figure."""
        return [name for name in ("AV", "A", "V") if any(name in answer.outputs for answer in self.answers.values())]

    @property
    def maps(self) -> dict[str, np.ndarray]:
        """The chosen attention map (Tq, Tk) of each network that has such a head, by its name."""
        direction, head = self.map_choice or ("", 0)
        heads = {name: answer.maps.get(direction, ()) for name, answer in self.answers.items()}
        return {name: maps[head] for name, maps in heads.items() if head < len(maps)}

    @property
    def reach(self) -> float:
        """How far from 1 the colours of all maps go."""
        return max(map(map_reach, self.maps.values()))

    def vectors(self, modality: str) -> list[np.ndarray]:
        """The attention that a modality receives, of each network before and after the change."""
        answers = [*self.answers.values(), *self.before.values()]
        return [answer.vectors[modality] for answer in answers if modality in answer.vectors]


def map_name(direction: str, head: int, heads: int) -> str:
    """A map in words, such as `audio looks at video, head 1`; head counts from 0. The only head is not named."""
    return vectors.map_name(direction) + (f", head {head + 1}" if heads > 1 else "")
