"""The explorer's controls: dropdowns, sliders and buttons in one look, and the choice of a clip.

A clip is chosen by emotion, by actor, by the answer of a network, and by the loss without a modality.
"""

from math import inf
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
import traitlets

from workbook import InputError
from workbook.evaluate.metrics import PROBABILITIES, right

ALL = "all"
ORDERS = {  # label -> column to sort by, the largest first
    "as listed": None,
    "lost most without sound": "lost_without_audio",
    "lost most without picture": "lost_without_video",
}
SLIDER = {"style": {"description_width": "108px"}, "layout": {"width": "auto", "min_width": "270px", "flex": "1 1 0"}}


def dropdown(name: str, options: list, share: int = 1) -> widgets.Dropdown:
    """A dropdown that takes `share` parts of the width of its row, or one of the next row where that is too narrow."""
    layout = {"width": "auto", "min_width": f"{40 + 40 * share}px", "flex": f"{share} 1 0"}
    return widgets.Dropdown(description=name, options=options, style={"description_width": "initial"}, layout=layout)


def button(label: str, tooltip: str, width: str) -> widgets.Button:
    """A button of a fixed width."""
    return widgets.Button(description=label, tooltip=tooltip, layout={"width": width, "flex": "none"})


def slider(name: str, options: list, value: float) -> widgets.SelectionSlider:
    """A slider over some values, or pairs of text and value."""
    return widgets.SelectionSlider(description=name, options=options, value=value, **SLIDER)


def set_value(control: widgets.Widget, value: Any, name: str) -> None:
    """Sets a control. Raises InputError for a value that it does not have."""
    try:
        control.value = value
    except Exception:  # traitlets' own kinds
        raise InputError(f"{name} cannot be {value!r} here") from None


def set_options(control: widgets.Dropdown, options: list[tuple[str, Any]]) -> None:
    """Offers other pairs of text and value; the value stays if it is among them, else the first is chosen."""
    value, values = control.value, [value for _, value in options]
    control.options = options
    control.value = value if value in values else next(iter(values), None)


def as_spans(value: Any) -> list[list[float]]:
    """Masked spans as the browser has them. Raises InputError for anything but pairs of finite numbers."""
    try:
        spans = np.array(value, float).reshape(-1, 2)
    except (TypeError, ValueError):
        spans = np.array([inf])
    if not np.isfinite(spans).all():
        raise InputError(f"a masked span has a start and an end, such as ((0.5, 1.2),), not {value!r}")
    return spans.tolist()


def with_answers(clips: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """The table of clips with a network's answers, where the predictions have them.

    New columns: answer (right or wrong; NaN of a sentiment of 0), and lost_without_audio, lost_without_video: how much
    less probable the answer is without the modality, in [-1, 1]; of sentiment, how far the score moves. NaN where a
    clip was not tested so.

    predictions : as `workbook.evaluate.evaluation.predict` makes them, with the conditions AV, A and V or some of them
    """
    table = clips.set_index("clip", drop=False)
    tested = {name: rows.set_index("clip") for name, rows in predictions.groupby("condition")}
    both = tested["AV"]
    table["answer"] = pd.Series(right(both), both.index).map({1: "right", 0: "wrong"})
    outputs = list(both.filter(regex=PROBABILITIES)) or ["value"]
    values = both[outputs].reindex(table.index).to_numpy()
    for missing, alone in {"audio": "V", "video": "A"}.items():
        if alone in tested:
            lost = values - tested[alone][outputs].reindex(table.index).to_numpy()
            lost = lost[range(len(lost)), values.argmax(axis=1)]
            table[f"lost_without_{missing}"] = abs(lost) if outputs == ["value"] else lost
    return table.reset_index(drop=True)


def clip_labels(clips: pd.DataFrame) -> dict[str, str]:
    """A readable name of each clip, such as `happy, actor 5` or, of the second of several, `happy, actor 5, no. 2`."""
    plain = clips["emotion"].astype(str) + ", actor " + clips["actor"].astype(str)
    number = plain.groupby(plain).cumcount() + 1
    numbered = plain.where(~plain.duplicated(keep=False), plain + ", no. " + number.astype(str))
    return dict(zip(clips["clip"], numbered, strict=True))


class ClipPicker(widgets.HBox):
    """Dropdowns over a table of clips: filters, an order, the clip, and buttons to the one before and after.

    Attributes: emotion, actor, answer, order and clip (Dropdowns; answer and order are hidden where the table lacks
    them), earlier and later (Buttons); chosen is the clip, None where none passes.
    """

    chosen = traitlets.Unicode(None, allow_none=True)

    def __init__(self, clips: pd.DataFrame, first: str | None = None):
        """clips : columns clip, emotion, actor, and perhaps those of `with_answers`      first : as in `reach`"""
        super().__init__()
        self.emotion = dropdown("emotion", [ALL, *dict.fromkeys(clips["emotion"])])
        self.actor = dropdown("actor", [ALL, *sorted(set(clips["actor"]))])
        self.answer = dropdown("answer", [ALL, "right", "wrong"])
        self.order = dropdown("order", list(ORDERS), share=2)
        self.clip = dropdown("clip", [], share=2)
        self.earlier, self.later = button("◀", "clip before", "34px"), button("▶", "next clip", "34px")
        arrows = widgets.HBox([self.earlier, self.later], layout={"flex": "none"})
        self.children = [self.emotion, self.actor, self.answer, self.order, self.clip, arrows]
        self.labels, self._refilling = clip_labels(clips), False
        self.take(clips)
        if first is not None:
            self.reach(first)
            self.chosen = first
        for control in (self.emotion, self.actor, self.answer):
            control.observe(lambda _: self._refill(), names="value")
        self.order.observe(lambda _: self._refill(to_first=True), names="value")
        self.clip.observe(lambda _: self._refilling or self._choose(), names="value")
        self.earlier.on_click(lambda _: self._step(-1))
        self.later.on_click(lambda _: self._step(1))

    def take(self, clips: pd.DataFrame) -> None:
        """Offers the clips of another table, such as that of another network; the chosen one stays where it passes."""
        self.clips = clips
        self.answer.layout.display = None if "answer" in clips else "none"
        self.order.options = [label for label, column in ORDERS.items() if column is None or column in clips]
        self.order.layout.display = None if len(self.order.options) > 1 else "none"
        self._refill()

    def reach(self, clip: str) -> None:
        """Chooses a clip, and lifts the filters if they hide it. Raises InputError for an unknown name."""
        if clip not in set(self.clips["clip"]):
            raise InputError(f"there is no clip {clip} among these {len(self.clips)}")
        if clip not in self.offered:
            self.emotion.value = self.actor.value = self.answer.value = ALL
        self.clip.value = clip

    @property
    def neighbours(self) -> list[str]:
        """The clips of the two buttons: the next one and the one before, where there are any."""
        options, place = self.offered, self.clip.index or 0
        return [*options[place + 1 : place + 2], *options[max(place - 1, 0) : place]]

    @property
    def offered(self) -> list[str]:
        """The clips that pass the filters, in order."""
        return [name for _, name in self.clip.options]

    def _refill(self, to_first: bool = False) -> None:
        """Offers the clips that pass the filters, in order, and keeps the chosen one or takes the first."""
        passing = self.clips
        for column in ("emotion", "actor", "answer"):
            value = getattr(self, column).value
            if value != ALL and column in passing:
                passing = passing[passing[column] == value]
        if order := ORDERS[self.order.value]:
            passing = passing.sort_values(order, ascending=False, kind="stable")
        self._refilling = True  # one choice, not one for each step of this change
        set_options(self.clip, [(self.labels[name], name) for name in passing["clip"]])
        if to_first and len(passing):
            self.clip.index = 0
        self._refilling = False
        self._choose()

    def _choose(self) -> None:
        self.chosen = self.clip.value

    def _step(self, by: int) -> None:
        if self.clip.options:
            self.clip.index = min(max(self.clip.index + by, 0), len(self.clip.options) - 1)
