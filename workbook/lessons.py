"""Lessons: a question that hides its answer until somebody guesses, a figure with sliders, and checks of exercises.

Both widgets leave HTML in the notebook for readers without a kernel; a living widget hides it.

An exercise is a cell with the tag `exercise` that assigns `...`, or defines a function that returns `...`. The cell
after it calls `check`. Solutions are apart, in notebooks/lessons/solutions.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any, ClassVar

import ipywidgets as widgets
import mistune
import numpy as np
from IPython.display import HTML, Markdown, display
from matplotlib.axes import Axes

STYLE = """<style>
.jp-OutputArea:has(.avlib-lesson) > .jp-OutputArea-child:has(.avlib-static) { display: none; }
.avlib-lesson { padding: 4px 8px; border-left: 4px solid #2b4162; }
.avlib-lesson img { max-width: 100%; }
</style>"""


def as_html(item: Any) -> str:
    """Markdown, a figure, axes or a table as HTML."""
    if isinstance(item, str | Markdown):
        return mistune.html(getattr(item, "data", item))
    return (item.figure if isinstance(item, Axes) else item)._repr_html_()


class _Lesson(widgets.VBox):
    """A box of widgets whose content is kept as HTML beside it."""

    def __init__(self, *children: widgets.Widget):
        super().__init__([widgets.HTML(STYLE, layout={"display": "none"}), *children])
        self.add_class("avlib-lesson")

    def _ipython_display_(self) -> None:
        display(self._repr_mimebundle_(), raw=True)
        display(HTML(f'<div class="avlib-static">{self.static()}</div>'))

    def static(self) -> str:
        """The content as HTML, for readers without a kernel."""
        raise NotImplementedError


class Guess(_Lesson):
    """A question whose answer stays hidden until a guess is given.

    Each press of an option is one guess: of a reader, or of a hand that a class raises. Readers without a kernel
    unfold the answer.
    """

    counts: ClassVar[dict[str, Counter]] = {}  # the guesses of this session, by question
    right: ClassVar[dict[str, str]] = {}  # the answers, by question

    def __init__(self, question: str, options: Iterable[str], answer: str, *shows: Any):
        """question : Markdown      shows : what is hidden beside the answer, for `as_html`

        Raises ValueError where the answer is none of the options.
        """
        self.question, self.options, self.answer = question, list(options), answer
        if answer not in self.options:
            raise ValueError(f"the answer '{answer}' is none of {', '.join(self.options)}")
        self.counts[question], self.right[question] = Counter(), answer
        self.hidden = as_html(f"The answer: **{answer}**.") + "".join(map(as_html, shows))
        self.buttons = [widgets.Button(layout={"width": "auto"}) for _ in self.options]
        self.reveal = widgets.Button(description="Show the answer", disabled=True, button_style="primary")
        self.message, self.result = widgets.HTML(), widgets.HTML()
        for option, button in zip(self.options, self.buttons, strict=True):
            button.on_click(lambda _, option=option: self.guess(option))
        self.reveal.on_click(lambda _: self.show())
        self._label()
        asked = widgets.HTML(as_html(question))
        super().__init__(asked, widgets.HBox([*self.buttons, self.reveal]), self.message, self.result)
        self.children[2].layout.flex_flow = "row wrap"

    def guess(self, option: str) -> None:
        """Counts a guess."""
        self.counts[self.question][option] += 1
        self.reveal.disabled = False
        self._label()

    def show(self) -> None:
        """Reveals the answer, and says how many guesses were right."""
        everywhere = [(counts[self.right[question]], counts.total()) for question, counts in self.counts.items()]
        right, total = np.sum(everywhere, axis=0)
        own = self.counts[self.question]
        text = f"**{own[self.answer]} of {own.total()}** guesses were right. In this session: {right} of {total}."
        self.message.value, self.result.value = as_html(text), self.hidden
        for button in self.buttons:  # not the one that was pressed: it keeps the focus, and so the keyboard works on
            button.disabled = True

    def static(self) -> str:
        choices = "".join(f"<li>{escape(option)}</li>" for option in self.options)
        answer = f"<details><summary>Guess first, then unfold the answer</summary>{self.hidden}</details>"
        return f"{as_html(self.question)}<ul>{choices}</ul>{answer}"

    def _label(self) -> None:
        for option, button in zip(self.options, self.buttons, strict=True):
            count = self.counts[self.question][option]
            button.description = f"{option} ({count})" if count else option


class Sliders(_Lesson):
    """A figure that follows its controls."""

    def __init__(self, draw: Callable[..., Any], **controls: tuple[Any, Sequence]):
        """draw : returns the figure, or a list for `as_html`, for a value of each control

        controls : by name its first value, and all its values
        """
        self.draw, self.controls, self.figure = draw, {}, widgets.HTML()
        for name, (first, values) in controls.items():
            places = list(values) if first in values else sorted([first, *values])
            options = [(f"{place:g}" if isinstance(place, float) else str(place), place) for place in places]
            style = {"description_width": "initial"}
            settings = {"description": name.replace("_", " "), "continuous_update": False, "style": style}
            self.controls[name] = widgets.SelectionSlider(options=options, value=first, **settings)
            self.controls[name].observe(lambda _: self._draw(), names="value")
        self._draw()
        super().__init__(widgets.HBox([*self.controls.values()], layout={"flex_flow": "row wrap"}), self.figure)

    def static(self) -> str:
        values = ", ".join(
            f"{control.description} {control.options[control.index][0]}" for control in self.controls.values()
        )
        return f"<p>With a kernel, sliders stand here. This is for {escape(values)}.</p>{self.figure.value}"

    def _draw(self) -> None:
        drawn = self.draw(**{name: control.value for name, control in self.controls.items()})
        self.figure.value = "".join(map(as_html, drawn if isinstance(drawn, list) else [drawn]))


def check(answer: Any, tests: dict[str, Callable[[Any], bool]], *arguments: Any) -> Markdown:
    """What is wrong with the answer to an exercise, without the answer, in Markdown.

    answer : the reader's; a function is called with `arguments`, and its result is checked
    tests : by the sentence that says what is wrong, a function of the answer that is True where it is right
    The first sentence whose test fails, or raises, is shown.
    """
    try:
        value = answer(*arguments) if callable(answer) else answer
    except Exception as error:  # of any kind: a reader wrote the function
        return Markdown(f"**Not right yet.** Your function stops with {type(error).__name__}: {error}")
    if value is ...:
        return Markdown("**Not solved yet.** Write your answer in place of the three dots, then run both cells.")
    wrong = next((sentence for sentence, test in tests.items() if not _passes(test, value)), None)
    return Markdown(f"**Not right yet.** {wrong}" if wrong else "**Right.**")


def _passes(test: Callable[[Any], bool], value: Any) -> bool:
    try:
        return bool(test(value))
    except Exception:  # of any kind: an answer may be anything
        return False


def digest(answer: Any, digits: int = 2) -> str:
    """A short hash of a text, or of numbers rounded to `digits` places."""
    if isinstance(answer, str):
        text = answer.strip().lower()
    else:
        text = str((np.round(np.ravel(answer).astype(float), digits) + 0.0).tolist())  # + 0.0: no minus zero
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def has_digest(expected: str, digits: int = 2) -> Callable[[Any], bool]:
    """A test for `check` that keeps the expected answer to itself: only its `digest` is known."""
    return lambda answer: digest(answer, digits) == expected


def nearest(value: float, options: Iterable[str]) -> str:
    """The option, such as `about 60 %`, whose first number is nearest to the value."""
    return min(options, key=lambda option: abs(float(re.search(r"-?[\d.]+", option)[0]) - value))


def is_shortest(flips: Callable[[int, int], bool], steps: int) -> Callable[[tuple[int, int]], bool]:
    """A test for `check`: whether no shorter span of steps flips the answer; flips : of the first and the last step"""

    def test(span: tuple[int, int]) -> bool:
        length = span[1] - span[0]
        return not any(flips(first, first + less) for less in range(length) for first in range(steps - less))

    return test
