"""The clip explorer: choose an emotion, an actor, a clip; see its figure, hear its sound.

It knows no model: a table of clips and a function that draws one of them are all it needs.
"""

from collections.abc import Callable
from io import BytesIO

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Audio
from matplotlib.figure import Figure

from avlib import InputError

ALL = "all"
MOST_ACTORS = 50  # more are no choice but a list to get lost in


class Explorer(widgets.VBox):
    """Dropdowns over a table of clips, with the picture and the sound of the chosen one.

    Attributes: emotion, actor, answer and clip (the Dropdowns; actor is None where there are more than 50, answer where
    the table has no `correct`), picture (Image), player (Audio) and message (HTML).
    """

    def __init__(
        self,
        clips: pd.DataFrame,
        draw: Callable[[str], Figure],
        sound: Callable[[str], tuple[np.ndarray, int]] | None = None,
        first: str | None = None,
    ):
        """clips : columns clip, emotion, actor and, if wanted, correct (bool); the others as in `explore`."""
        if clips.empty:
            raise InputError("there is no clip to explore: give a table with at least one row.")
        self._clips, self._draw, self._sound = clips, draw, sound
        self.emotion = _choice("emotion", list(dict.fromkeys(clips["emotion"])))
        actors = sorted(set(clips["actor"]))
        self.actor = _choice("actor", actors) if len(actors) <= MOST_ACTORS else None
        self.answer = _choice("answer", ["correct", "wrong"]) if "correct" in clips else None
        if first not in (None, *clips["clip"]):
            raise InputError(f"there is no clip {first} in the table: give one of its names as first.")
        self.clip = widgets.Dropdown(description="clip", options=list(clips["clip"]))
        self.clip.value = first or self.clip.options[0]
        self.picture = widgets.Image(format="png", layout={"max_width": "100%"})
        self.player = widgets.Audio(format="wav", autoplay=False, loop=False)
        self.message = widgets.HTML()
        filters = [choice for choice in (self.emotion, self.actor, self.answer) if choice is not None]
        for choice in filters:
            choice.observe(self._refill, names="value")
        self.clip.observe(self._show, names="value")
        choices = widgets.HBox([*filters, self.clip], layout={"flex_flow": "row wrap"})
        players = [self.player] if sound is not None else []
        super().__init__([choices, self.message, self.picture, *players])
        self._show()

    def _refill(self, change: dict | None = None) -> None:
        """Offer the clips that pass the filters; the chosen one stays where it passes."""
        wanted = pd.Series(True, index=self._clips.index)
        if self.emotion.value != ALL:
            wanted &= self._clips["emotion"] == self.emotion.value
        if self.actor is not None and self.actor.value != ALL:
            wanted &= self._clips["actor"] == self.actor.value
        if self.answer is not None and self.answer.value != ALL:
            wanted &= self._clips["correct"] == (self.answer.value == "correct")
        names, chosen = list(self._clips.loc[wanted, "clip"]), self.clip.value
        self.clip.unobserve(self._show, names="value")  # one drawing per choice, not one per step of this change
        self.clip.options = names
        self.clip.value = chosen if chosen in names else next(iter(names), None)
        self.clip.observe(self._show, names="value")
        if self.clip.value != chosen or not names:
            self._show()

    def _show(self, change: dict | None = None) -> None:
        """Draw the chosen clip, or say why not."""
        self.message.value, self.picture.value, self.player.value = "", b"", b""
        if self.clip.value is None:
            self.message.value = "No clip passes these filters."
            return
        try:
            self.picture.value = _png(self._draw(self.clip.value))
            if self._sound is not None:
                self.player.value = _wav(*self._sound(self.clip.value))
        except InputError as error:
            self.message.value = str(error)


def explore(
    clips: pd.DataFrame,
    draw: Callable[[str], Figure],
    sound: Callable[[str], tuple[np.ndarray, int]] | None = None,
    first: str | None = None,
) -> Explorer:
    """A widget to go through the clips: filters by emotion, actor (up to 50) and answer; figure and sound of one clip.

    clips : columns clip, emotion, actor and, if wanted, correct (bool), one row per clip
    draw : from a clip's name to its figure, as `plots.attention_over_clip` makes it
    sound : from a clip's name to (samples, rate in hertz); no player where None
    first : the clip to open on, a name of the table; its first clip where None
    """
    return Explorer(clips, draw, sound, first)


def _choice(name: str, options: list) -> widgets.Dropdown:
    return widgets.Dropdown(description=name, options=[ALL, *options], value=ALL)


def _png(figure: Figure) -> bytes:
    """The figure as a PNG file; the figure is closed."""
    png = BytesIO()
    figure.savefig(png, format="png", dpi=110, bbox_inches="tight", facecolor="white")
    plt.close(figure)
    return png.getvalue()


def _wav(samples: np.ndarray, rate: int) -> bytes:
    """The sound as a wav file at full volume; nothing where it is silent."""
    return Audio(samples, rate=rate).data if np.any(samples) else b""
