"""The explorer: a clip, the answers of networks to it, their attention, and controls that change the clip.

Clips come from `ClipPicker`, answers from `Probe`; `FigureWidget` draws them.
"""

import ast
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from html import escape
from math import inf
from threading import Lock, Thread, current_thread, main_thread
from typing import Any

import ipywidgets as widgets
import pandas as pd
import torch
from IPython.core.pylabtools import print_figure
from IPython.display import display
from matplotlib.figure import Figure

from workbook import InputError
from workbook.attention.truth import Cues
from workbook.explore.controls import (
    SLIDER,
    ClipPicker,
    as_spans,
    button,
    dropdown,
    set_options,
    set_value,
    slider,
    with_answers,
)
from workbook.explore.figure import FigureWidget, View, as_drawn, clip_figure
from workbook.explore.pictures import Pictures
from workbook.explore.probe import Change, Inputs, Probe, Subject, changes_in_words, changes_of_picture
from workbook.plots.clock import SECONDS, clock_of
from workbook.train.batches import Clips

GAINS = [round(0.1 * tenth, 1) for tenth in range(11)]
NOISES = [inf, 30.0, 25.0, 20.0, 15.0, 10.0, 5.0, 0.0, -5.0]  # decibels
REACH = {"s": 1.5, "place": 0.5}  # of the shift of the sound, by the unit of the clock
MOST_VOICES = 300  # with more clips, only those of the same actor are offered
INTACT = Change()


class Prefetcher:
    """A thread that runs an iterator piece by piece; no new piece begins while `paused` is held."""

    def __init__(self):
        self.paused = Lock()
        self._thread: Thread | None = None

    def start(self, pieces: Iterator) -> None:
        """Runs an iterator in place of the one before; each `next` is a piece."""
        self._thread = Thread(target=self._run, args=(pieces,))
        self._thread.start()

    def wait(self, seconds: float | None = None) -> None:
        """Waits until the iterator ends, at most `seconds`; None = without a limit."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self, pieces: Iterator) -> None:
        torch.set_num_threads(1)  # of this thread and of new ones, not of those that run already
        for _ in pieces:
            with self.paused:
                if self._thread is not current_thread() or not main_thread().is_alive():  # replaced, or Python ends
                    return


class Explorer(widgets.VBox):
    """Controls and the figure of one clip under one or two networks, for the last line of a notebook cell.

    Attributes: network, beside, map (Dropdowns), gradients (Checkbox), clips (ClipPicker), controls (widgets by the
    name of what they change in `Change`), figure_widget, line (Text), save (Button), message, about (HTML).
    """

    def __init__(
        self,
        networks: dict[str, Subject | Callable[[], Subject]],
        clips: Clips,
        first: str | None = None,
        cues: dict[str, Cues] | None = None,
    ):
        """networks : by the name to show; a function is called when its network is chosen
        clips : of one test; their network reads the same data      first : the clip to open on, None = the first one
        cues : true spans on the clock by clip, as `cues_by_clip`; None = unknown
        """
        self.inputs, self._cues = Inputs(clips), cues or {}
        self.clock, self.names = clock_of(self.inputs.clips), self.inputs.names
        self.pictures, self._prefetcher = Pictures(self.inputs), Prefetcher()
        self._subject = cache(lambda name: networks[name]() if callable(networks[name]) else networks[name])
        self._probe = cache(lambda name: Probe(self._subject(name).net, self.inputs, self._subject(name).conditions))
        self._busy = self._is_visible = False
        self._make_controls(list(networks), first)
        top = [self.network, self.beside, self.map, self.gradients, self.reset, self.save]
        rows = [["audio_gain", "audio_noise", "shift"], ["video_gain", "video_noise", "voice"]]
        sliders = [widgets.HBox([self.controls[name] for name in row]) for row in rows]
        words = [widgets.HBox([self.line, self.about]), self.message]
        super().__init__([widgets.HBox(top), self.clips, self.figure_widget, *sliders, *words])
        self.add_class("avlib-explorer")
        self._observe()
        self._change_clip()

    def _make_controls(self, names: list[str], first: str | None) -> None:
        self.network = dropdown("network", names, share=3)
        self.beside = dropdown("beside", [("—", ""), *((name, name) for name in names)], share=3)
        self.map = dropdown("map", [], share=2)
        narrow = {"width": "88px", "flex": "none"}
        self.gradients = widgets.Checkbox(description="gradients", indent=False, layout=narrow)
        self.reset = button("reset", "undo all changes of the clip", "72px")
        self.save = button("save PNG", "save this view as a picture", "88px")
        self.clips = ClipPicker(self._table(), first)
        self.figure_widget = FigureWidget()
        reach = REACH[self.clock.unit]
        shift = {"min": -reach, "max": reach, "step": reach / 30, "readout_format": "+.2f"}
        noises = [("none" if noise == inf else f"{noise:g} dB", noise) for noise in NOISES]
        self.controls = {
            "audio_gain": slider("audio ×", GAINS, 1.0),
            "video_gain": slider("video ×", GAINS, 1.0),
            "audio_noise": slider("noise in audio", noises, inf),
            "video_noise": slider("noise in video", noises, inf),
            "shift": widgets.FloatSlider(description=f"audio early ({self.clock.words})", **shift, **SLIDER),
            "voice": dropdown("voice of", [("itself", "")]),
        }
        self.line = widgets.Text(description="this view", continuous_update=False, layout={"flex": "1"})
        self.about = widgets.HTML(layout={"max_width": "50%"})
        self.message = widgets.HTML(layout={"display": "none"}).add_class("message")

    def _observe(self) -> None:
        def on_change(action: Callable[[], None], *controls: widgets.Widget, of: str = "value") -> None:
            for control in controls:
                control.observe(lambda _: self._busy or action(), names=of)

        on_change(self._change_clip, self.network, self.beside)
        on_change(self._change_clip, self.clips, of="chosen")
        on_change(self._show, self.map, self.gradients, *self.controls.values())
        on_change(self._show, self.figure_widget, of="masked")
        on_change(self._prefetch, self.controls["video_gain"], self.controls["video_noise"])
        on_change(self._restore, self.line)
        self.figure_widget.on_msg(lambda *_: self._on_shown())
        self.reset.on_click(lambda _: self.show(**self._choices()))
        self.save.on_click(lambda _: self._download())

    def _ipython_display_(self) -> None:
        """Shows the widget, and its figure for readers without a kernel; a living widget hides that."""
        display(self._repr_mimebundle_(), raw=True)
        if self.clips.chosen is not None:
            display(self.figure())

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """A block in which controls may change without a step."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    # the view

    @property
    def probe(self) -> Probe:
        """The first network, to ask in code."""
        return self._probe(self.network.value)

    @property
    def probes(self) -> dict[str, Probe]:
        """The one or two networks of the figure, by name."""
        return {name: self._probe(name) for name in (self.network.value, self.beside.value) if name}

    @property
    def change(self) -> Change:
        """The change of the clip by the controls."""
        masked = {f"{name}_masked": tuple(map(tuple, spans)) for name, spans in self.figure_widget.masked.items()}
        values = {name: control.value for name, control in self.controls.items()}
        return Change(**values | {"shift": round(values["shift"], 3)}, **masked)

    @property
    def view(self) -> dict[str, Any]:
        """The settings that differ from the defaults, by name: `explorer.show(**view)` shows it again."""
        changes = asdict(self.change).items()
        return self._choices() | {name: value for name, value in changes if value != getattr(INTACT, name)}

    def _choices(self) -> dict[str, Any]:
        """The part of the view that is no change of the clip."""
        choices = {"clip": self.clips.chosen, "network": self.network.value, "beside": self.beside.value}
        choices |= {"map": self.map.value if self.map.index else None, "gradients": self.gradients.value}
        return {name: value for name, value in choices.items() if value}

    def show(self, **view) -> None:
        """Shows a view: its clip, network, beside, map and gradients, and the fields of its `Change`.

        Clip and network stay where they are left out; all others get their default. Raises InputError for a value that
        is not there, such as an unknown clip, and TypeError for another name.
        """
        before = self.view
        with self._quiet():
            try:
                self._set(**view)
            except Exception:  # any value can stand in a pasted line
                self._set(**before)
                raise
        self._show()
        self._prefetch()

    def _set(self, clip=None, network=None, beside="", map=None, gradients=False, **changes) -> None:
        change = Change(**changes)
        set_value(self.network, network or self.network.value, "network")
        set_value(self.beside, beside, "beside")
        self.clips.take(self._table())
        if clip is not None:
            self.clips.reach(clip)
        self._offer()
        for name, control in self.controls.items():
            set_value(control, getattr(change, name), name)
        self.figure_widget.masked = {"audio": as_spans(change.audio_masked), "video": as_spans(change.video_masked)}
        self.gradients.value = bool(gradients)
        set_value(self.map, map or next(iter(self.map.options), (None,))[0], "map")

    def figure(self) -> Figure:
        """The view as a figure that needs no kernel and no browser."""
        inputs = self.clips.chosen, self.change
        return clip_figure(self._view(), self.pictures.video_values(*inputs), self.pictures.audio_values(*inputs))

    def _view(self) -> View:
        """The content of either figure."""
        clip, change, labels = self.clips.chosen, self.change, self.clips.labels
        changes = changes_in_words(change, self.clock.unit, labels.get(change.voice, ""))
        return View(
            answers={name: probe.answer(clip, change) for name, probe in self.probes.items()},
            before={name: probe.answer(clip, INTACT) for name, probe in self.probes.items()},
            names=self.names,
            truth=self.inputs.truth(clip),
            title="; ".join([f"{labels[clip]} ({clip})", *changes]),
            clock=self.clock,
            times=self.inputs.times,
            cues=self._cues.get(clip) or {},
            masked={"audio": change.audio_masked, "video": change.video_masked},
            scores=self.probe.attribution(clip, change) if self.gradients.value else {},
            head=self.probe.answer(clip, INTACT).heads.get(self.map.value),
        )

    # steps

    def _change_clip(self) -> None:
        """Shows another clip or network, and offers its voices and maps."""
        try:
            with self._quiet():
                self.clips.take(self._table())
                self._offer()
        except InputError as error:
            return self._say(str(error))
        self._show()
        self._prefetch()

    def _show(self) -> None:
        """One step: asks the networks about the changed clip, and sends the changes of the figure to the browser."""
        clip, change, figure = self.clips.chosen, self.change, self.figure_widget
        self._say("" if clip else "No clip passes these filters.")
        if not clip:
            return
        try:
            with self._prefetcher.paused:
                view, video = self._view(), self.pictures.video(clip, change.of("video"))
                audio, sound = self.pictures.audio(clip, change.of("audio"))
        except InputError as error:
            return self._say(str(error))
        with figure.hold_sync():
            figure.view, figure.video, figure.audio = as_drawn(view), video, audio
            figure.sound, figure.volume = sound, change.audio_gain
        with self._quiet():
            self.line.value = f"explorer.show({', '.join(f'{name}={value!r}' for name, value in self.view.items())})"

    def _on_shown(self) -> None:
        """Begins to prefetch as soon as a browser shows the figure."""
        self._is_visible = True
        self._prefetch()

    def _prefetch(self) -> None:
        """Prefetches the next slider positions and clips, once a browser shows the figure."""
        clip = self.clips.chosen
        if self._is_visible and self.clock is SECONDS and clip is not None and not self.message.value:
            self._prefetcher.start(self._describe(list(self.probes.values()), clip, self.change))

    def _describe(self, probes: list[Probe], clip: str, change: Change) -> Iterator:
        """Describes frames piece by piece: this clip for one move of either slider, then its neighbours."""
        needed = [(clip, moved) for moved in changes_of_picture(change, GAINS, NOISES)]
        needed += [(other, same) for other in self.clips.neighbours for same in (INTACT, change) if same.video_gain]
        for name, moved in needed:
            self.pictures.small(name, moved.video_noise)
            for probe in probes:
                if probe.reads_video:
                    yield from probe.describing(name, moved)

    def _restore(self) -> None:
        """Shows the view of a saved line of code; refuses any other text in a sentence."""
        try:
            call = ast.parse(self.line.value.strip(), mode="eval").body
            if call.args or ast.unparse(call.func) != "explorer.show":
                raise ValueError
            self.show(**{keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords})
        except InputError as error:
            self._say(str(error))
        except Exception:  # any text can be written there
            self._say("this is no saved view: paste a line such as explorer.show(clip='…', shift=0.5)")

    def _say(self, sentence: str) -> None:
        """Shows a sentence below the figure; what it quotes of names and pasted lines is text, not HTML."""
        self.message.value = escape(sentence, quote=False)
        self.message.layout.display = None if sentence else "none"  # an empty line takes no room

    def _download(self) -> None:
        """Makes the browser download the figure."""
        if self.clips.chosen is not None and not self.message.value:
            look = {"dpi": 150, "facecolor": "white", "metadata": {"Description": self.line.value}}
            png = print_figure(self.figure(), "png", bbox_inches=None, **look)
            self.figure_widget.send({"download": f"{self.clips.chosen}.png"}, [png])

    # choices

    def _table(self) -> pd.DataFrame:
        """The clips, with the answers of the first network where they are known."""
        table, predictions = self.inputs.table.reset_index(drop=True), self._subject(self.network.value).predictions
        return table if predictions is None else with_answers(table, predictions)

    def _offer(self) -> None:
        """Offers the voices and the maps of the clip, and says what its networks have learnt from."""
        about = [f"{name}: {' '.join(self._subject(name).about)}" for name in self.probes if self._subject(name).about]
        words = "".join(f"<p>{escape(sentences)}</p>" for sentences in about)
        self.about.value = f"<details><summary>about the networks</summary>{words}</details>" if words else ""
        clip, table = self.clips.chosen, self.inputs.table
        if clip is None:
            return
        others = table[table["has_audio"] & (table["clip"] != clip)]
        same = others["actor"] == table.loc[clip, "actor"]
        voices = [*others["clip"][same], *(others["clip"][~same] if len(others) <= MOST_VOICES else ())]
        set_options(self.controls["voice"], [("itself", ""), *((self.clips.labels[name], name) for name in voices)])
        heads = self.probe.answer(clip, INTACT).heads
        set_options(self.map, [(name, name) for name in heads])
        self.map.layout.min_width = f"{60 + 7 * max(map(len, heads), default=0)}px"
        self.map.layout.display = None if heads else "none"
