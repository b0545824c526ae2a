"""The explorer: a clip, the answers of networks to it, their attention, and controls that change the clip.

Clips come from `ClipPicker`, answers from `Probe`; `FigureWidget` draws them.
"""

import ast
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from html import escape
from math import inf, isfinite
from typing import Any

import ipywidgets as widgets
import pandas as pd
from IPython.core.pylabtools import print_figure
from IPython.display import display
from matplotlib.figure import Figure

from workbook import InputError
from workbook.explore.clip_picker import ClipPicker, with_answers
from workbook.explore.controls import SLIDER, button, dropdown, set_options, set_value, slider
from workbook.explore.figure import clip_figure
from workbook.explore.pictures import Pictures
from workbook.explore.prefetch import Prefetcher
from workbook.explore.probe import Change, Inputs, Probe, Span, Subject, changes_in_words, changes_of_picture, in_words
from workbook.explore.view import View, map_name
from workbook.explore.widget import FigureWidget, as_drawn
from workbook.plots.clock import SECONDS, clock_of
from workbook.task import Sentiment
from workbook.train.batches import Clips

GAINS = [round(0.1 * tenth, 1) for tenth in range(11)]
NOISES = [inf, 30.0, 25.0, 20.0, 15.0, 10.0, 5.0, 0.0, -5.0]  # decibels
REACH = {"s": 1.5, "place": 0.5}  # of the shift of the sound, by the unit of the clock
MOST_VOICES = 300  # with more clips, only those of the same actor are offered
Cues = dict[str, Span]
INTACT = Change()


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
        self.inputs, self.task, self._cues = Inputs(clips), clips.task, cues or {}
        self.clock = clock_of(clips)
        self.pictures, self._prefetcher = Pictures(self.inputs), Prefetcher()
        self._subject = cache(lambda name: networks[name] if isinstance(networks[name], Subject) else networks[name]())
        self._probe = cache(lambda name: Probe(self._subject(name).net, self.inputs, self._subject(name).conditions))
        self._busy, self._is_visible = True, False
        self._maps: dict[str, tuple[str, int]] = {}  # direction and head by the name of an attention map
        self.figure_widget = FigureWidget()
        self.message = widgets.HTML(layout={"display": "none"}).add_class("message")
        self.about = widgets.HTML(layout={"max_width": "50%"})
        self._make_controls(list(networks), first)
        top = [self.network, self.beside, self.map, self.gradients, self.reset, self.save]
        rows = [["audio_gain", "audio_noise", "shift"], ["video_gain", "video_noise", "voice"]]
        words = [widgets.HBox([self.line, self.about]), self.message]
        sliders = [widgets.HBox([self.controls[name] for name in row]) for row in rows]
        super().__init__([widgets.HBox(top), self.clips, self.figure_widget, *sliders, *words])
        self.add_class("avlib-explorer")
        self._observe()
        self._busy = False
        self._change_clip()

    def _make_controls(self, names: list[str], first: str | None) -> None:
        self.network = dropdown("network", names, share=3)
        self.beside = dropdown("beside", [("—", ""), *((name, name) for name in names)], share=3)
        self.map = dropdown("map", [], share=2)
        narrow = {"width": "88px", "flex": "none"}
        self.gradients = widgets.Checkbox(description="gradients", indent=False, layout=narrow)
        self.reset = button("reset", "undo all changes of the clip", "72px")
        self.save = button("save PNG", "save this view as a picture", "88px")
        self.clips = ClipPicker(self._table(names[0]), first)
        span = REACH[self.clock.unit]
        noises = [("none" if noise == inf else f"{noise:g} dB", noise) for noise in NOISES]
        shift = {"min": -span, "max": span, "step": span / 30, "readout_format": "+.2f"}
        self.controls = {
            "audio_gain": slider("audio ×", GAINS, 1.0),
            "video_gain": slider("video ×", GAINS, 1.0),
            "audio_noise": slider("noise in audio", noises, inf),
            "video_noise": slider("noise in video", noises, inf),
            "shift": widgets.FloatSlider(description=f"audio early ({self.clock.words})", **shift, **SLIDER),
            "voice": dropdown("voice of", [("itself", "")]),
        }
        self.line = widgets.Text(description="this view", continuous_update=False, layout={"flex": "1"})

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
        self.figure_widget.on_msg(lambda _, message, buffers: self._on_message(message))
        self.reset.on_click(lambda _: self.show(**self._choices()))
        self.save.on_click(lambda _: self._download())

    def _ipython_display_(self) -> None:
        """Shows the widget, and its figure for readers without a kernel; a living widget hides that."""
        display(self._repr_mimebundle_(), raw=True)
        if self.clips.chosen is not None:
            figure = self.figure()
            words = in_words(self.probe.answer(self.clips.chosen, self.change), self.names)
            figure.words = f"The explorer. {words}".replace("**", "")
            display(figure)

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """A block in which controls may change without a step."""
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before

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
    def names(self) -> list[str]:
        """The names of the outputs: the classes, or `sentiment`."""
        return ["sentiment"] if isinstance(self.task, Sentiment) else list(self.task.names)

    @property
    def change(self) -> Change:
        """The change of the clip by the controls."""
        masked = {f"{name}_masked": tuple(map(tuple, spans)) for name, spans in self.figure_widget.masked.items()}
        values = {name: control.value for name, control in self.controls.items()}
        return Change(**values | {"shift": round(values["shift"], 3)}, **masked)

    @property
    def view(self) -> dict[str, Any]:
        """The settings that differ from the defaults, by name: `explorer.show(**view)` shows it again."""
        default = asdict(INTACT)
        return self._choices() | {name: value for name, value in asdict(self.change).items() if value != default[name]}

    def _choices(self) -> dict[str, Any]:
        """The part of the view that is no change of the clip."""
        choices = {"clip": self.clips.chosen, "network": self.network.value, "beside": self.beside.value}
        choices |= {"map": self.map.value if self.map.index else None, "gradients": self.gradients.value}
        return {name: value for name, value in choices.items() if value}

    def show(self, **view) -> None:
        """Shows a view; names that are left out get their default. Raises InputError for an unknown name or value."""
        known, before = {"clip", "network", "beside", "map", "gradients", *asdict(INTACT)}, self.view
        if unknown := set(view) - known:
            raise InputError(f"a view has no '{min(unknown)}': give some of {', '.join(sorted(known))}")
        with self._quiet():
            try:
                self._set(view)
            except Exception:  # any value can stand in a pasted line
                self._set(before)
                raise
        self._change_clip()

    def _set(self, view: dict[str, Any]) -> None:
        set_value(self.network, view.get("network", self.network.value), "network")
        set_value(self.beside, view.get("beside", ""), "beside")
        clip = view.get("clip", self.clips.chosen)
        if clip is not None:
            self.clips.reach(clip)
        self._offer_voices()
        for name, control in self.controls.items():
            set_value(control, view.get(name, getattr(INTACT, name)), name)
        self.gradients.value = bool(view.get("gradients", False))
        self.figure_widget.masked = {name: _spans(view.get(f"{name}_masked", ())) for name in ("audio", "video")}
        self._offer_maps()
        set_value(self.map, view.get("map", next(iter(self.map.options), None)), "map")

    def figure(self) -> Figure:
        """The view as a figure that needs no kernel and no browser."""
        clip, change, pictures = self.clips.chosen, self.change, self.pictures
        view = self._view(clip, change)
        return clip_figure(view, pictures.video_values(clip, change), pictures.audio_values(clip, change))

    def _view(self, clip: str, change: Change) -> View:
        """The content of either figure for a changed clip."""
        probes = self.probes
        label = self.inputs.clips.labels[self.inputs.place[clip]].item()
        labels = self.clips.labels
        title = [f"{labels[clip]} ({clip})", *changes_in_words(change, self.clock.unit, labels.get(change.voice, ""))]
        return View(
            answers={name: probe.answer(clip, change) for name, probe in probes.items()},
            before={name: probe.answer(clip, INTACT) for name, probe in probes.items()},
            names=self.names,
            truth=f"{label:+.2f}" if isinstance(self.task, Sentiment) else self.task.names[label],
            title="; ".join(title),
            clock=self.clock,
            cues=self._cues.get(clip) or {},
            masked={"audio": change.audio_masked, "video": change.video_masked},
            scores=self.probe.attribution(clip, change) if self.gradients.value else {},
            map_choice=self._maps.get(self.map.value),
        )

    # steps

    def _change_clip(self) -> None:
        """Shows another clip or network, and offers its voices and maps."""
        about = [f"{name}: {' '.join(self._subject(name).about)}" for name in self.probes if self._subject(name).about]
        words = "".join(f"<p>{escape(sentences)}</p>" for sentences in about)
        self.about.value = f"<details><summary>about the networks</summary>{words}</details>" if words else ""
        with self._quiet():
            try:
                self._say("")
                self.clips.take(self._table(self.network.value))
                self._offer_voices()
                self._offer_maps()
            except InputError as error:
                self._say(str(error))
        self._show()
        self._prefetch()

    def _show(self) -> None:
        """One step: asks the networks about the changed clip, and sends the changes of the figure to the browser."""
        clip, change = self.clips.chosen, self.change
        self._say("" if clip else "No clip passes these filters.")
        if not clip:
            return
        try:
            with self._prefetcher.paused():
                view = self._view(clip, change)
                video, (audio, sound) = self.pictures.video(clip, change), self.pictures.audio(clip, change)
        except InputError as error:
            return self._say(str(error))
        frames = len(self.inputs.times["video"]) if self.clock is SECONDS else 0
        with self.figure_widget.hold_sync():
            self.figure_widget.view = as_drawn(view, frames, has_hops=self.inputs.has_sound)
            self.figure_widget.video, self.figure_widget.audio, self.figure_widget.sound = video, audio, sound
            self.figure_widget.volume = change.audio_gain
        with self._quiet():
            self.line.value = f"explorer.show({', '.join(f'{name}={value!r}' for name, value in self.view.items())})"

    def _prefetch(self) -> None:
        """Prefetches the next slider positions and clips, once a browser shows the figure."""
        clip = self.clips.chosen
        if self._is_visible and self.clock is SECONDS and clip is not None and not self.message.value:
            self._prefetcher.start(self._describe(list(self.probes.values()), clip, self.change))

    def _describe(self, probes: list[Probe], clip: str, change: Change) -> Iterator[None]:
        """Describes frames piece by piece: this clip for one move of either slider, then its neighbours."""
        needed = [(clip, moved) for moved in changes_of_picture(change, GAINS, NOISES)]
        needed += [(other, same) for other in self.clips.neighbours for same in (INTACT, change.of("video"))]
        for name, moved in needed:
            self.pictures.small(name, moved.video_noise)
            for probe in probes:
                if "video" in probe.net.fusion.modalities and moved.video_gain:
                    for _ in probe.describing(name, moved):
                        yield

    def _on_message(self, message: dict) -> None:
        """Begins to prefetch as soon as a browser shows the figure."""
        if message.get("shown") and not self._is_visible:
            self._is_visible = True
            self._prefetch()

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
        if self.clips.chosen is not None and not self.message.value:
            look = {"dpi": 150, "facecolor": "white", "metadata": {"Description": self.line.value}}
            png = print_figure(self.figure(), "png", bbox_inches=None, **look)
            self.figure_widget.download(f"{self.clips.chosen}.png", png)

    # choices

    def _table(self, network: str) -> pd.DataFrame:
        """The clips, with the answers of a network where they are known."""
        table, predictions = self.inputs.table.reset_index(drop=True), self._subject(network).predictions
        return table if predictions is None else with_answers(table, predictions)

    def _offer_voices(self) -> None:
        """Offers all clips with a sound, those of the same actor first; of many clips only these."""
        table, clip = self.inputs.table, self.clips.chosen
        if clip is None:
            return
        others = table[table["has_audio"] & (table["clip"] != clip)]
        same = others["actor"] == table.loc[clip, "actor"]
        others = pd.concat([others[same], others[~same] if len(others) <= MOST_VOICES else others[:0]])
        voices = [(self.clips.labels[name], name) for name in others["clip"]]
        set_options(self.controls["voice"], [("itself", ""), *voices])

    def _offer_maps(self) -> None:
        if self.clips.chosen is None:
            return
        maps = self.probe.answer(self.clips.chosen, INTACT).maps
        places = [(direction, head) for direction, heads in maps.items() for head in range(len(heads))]
        self._maps = {map_name(*place, len(maps[place[0]])): place for place in places}
        set_options(self.map, list(self._maps))
        self.map.layout.min_width = f"{60 + 7 * max(map(len, self._maps), default=0)}px"
        self.map.layout.display = None if places else "none"


def _spans(value) -> list[list[float]]:
    """Masked spans as the browser has them. Raises InputError for anything but pairs of finite numbers."""
    try:
        spans = [[float(start), float(end)] for start, end in value]
    except (TypeError, ValueError):
        spans = [[inf]]
    if not all(isfinite(place) for span in spans for place in span):
        raise InputError(f"a masked span has a start and an end, such as ((0.5, 1.2),), not {value!r}")
    return spans
