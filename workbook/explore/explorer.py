"""The explorer: a clip, what networks say about it and where they attend, and controls that change the clip.

`explore` makes it. Its figures are `LivePanels`, its clips come by `ClipChoice`, its answers from `Probe`.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import lru_cache
from math import inf
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from workbook import InputError, plots
from workbook.attention.truth import CUE
from workbook.data.window import HOP, SAMPLE_RATE
from workbook.explore import live
from workbook.explore.background import Background
from workbook.explore.clip_picker import ClipChoice, answered, button, dropdown
from workbook.explore.figure import explored
from workbook.explore.probe import Change, Inputs, Probe, Subject, changes_of_picture
from workbook.plots.panels import as_png
from workbook.task import Sentiment
from workbook.train.batches import Clips

GAINS = [round(0.1 * tenth, 1) for tenth in range(11)]
NOISES = [inf, 30.0, 25.0, 20.0, 15.0, 10.0, 5.0, 0.0, -5.0]  # decibels
KEPT = 32  # pictures, and sounds
MOST_VOICES = 300  # with more clips, those of the same actor
Cues = dict[str, tuple[float, float]]


class Explorer(widgets.VBox):
    """Controls and figures of one clip under one or two networks.

    Attributes: network, beside, map (Dropdowns), gradients (Checkbox), clips (ClipChoice), controls (widgets by the
    name of what they change in `Change`), panels (LivePanels), line (Text), save (Button), message (HTML).
    """

    def __init__(
        self,
        networks: dict[str, Subject | Callable[[], Subject]],
        clips: Clips,
        first: str | None = None,
        cues: dict[str, Cues] | None = None,
    ):
        """Arguments as in `explore`."""
        if not networks:
            raise InputError("there is no network to explore: give at least one, with a name.")
        self._networks, self._cues, self._busy = dict(networks), cues or {}, True
        self._subjects: dict[str, Subject] = {}
        self._probes: dict[str, Probe] = {}
        self.inputs, self.task = Inputs(clips), clips.task
        self.clock = plots.SECONDS if clips.store.video.ndim == 5 else plots.PLACE
        self._ahead = Background()
        self._small = lru_cache(KEPT)(self._small_video)
        self._seen = lru_cache(KEPT)(self._strip)
        self._sounds = lru_cache(KEPT)(self._heard_and_sound)
        self.panels = live.LivePanels()
        self.message = widgets.HTML(layout={"display": "none"}).add_class("message")
        self._make_controls(first)
        tops = [self.network, self.beside, self.map, self.gradients, self.reset, self.save]
        rows = [["audio_gain", "audio_noise", "shift"], ["video_gain", "video_noise", "voice"]]
        lines = [widgets.HBox([self.controls[name] for name in row]) for row in rows]
        super().__init__([widgets.HBox(tops), self.clips, self.panels, *lines, self.line, self.message])
        self.add_class("avlib-explorer")
        self._watch()
        self._busy = self._watched = False
        self._change_clip()

    def _make_controls(self, first: str | None) -> None:
        names = list(self._networks)
        self.network = dropdown("network", names, share=3)
        self.beside = dropdown("beside", [("—", ""), *((name, name) for name in names)], share=3)
        self.map = dropdown("map", [], share=2)
        self.gradients = widgets.Checkbox(
            description="gradients", indent=False, layout={"width": "88px", "flex": "none"}
        )
        self.reset = button("reset", "undo all changes of the clip", "72px")
        self.save = button("save PNG", "save this view as a picture", "88px")
        self.clips = ClipChoice(self._table(self._subject(names[0])), first)
        span = 1.5 if self.clock is plots.SECONDS else 0.5
        noises = [("none" if noise == inf else f"{noise:g} dB", noise) for noise in NOISES]
        unit = "s" if self.clock is plots.SECONDS else "of the clip"
        shift = {"min": -span, "max": span, "step": span / 30, "readout_format": "+.2f"}
        self.controls = {
            "audio_gain": _slider("audio ×", options=GAINS, value=1.0),
            "video_gain": _slider("video ×", options=GAINS, value=1.0),
            "audio_noise": _slider("noise in audio", options=noises, value=inf),
            "video_noise": _slider("noise in video", options=noises, value=inf),
            "shift": widgets.FloatSlider(description=f"audio early ({unit})", **shift, **_LOOK),
            "voice": dropdown("voice of", [("itself", "")]),
        }
        self.line = widgets.Text(description="this view", continuous_update=False, layout={"width": "auto"})

    def _watch(self) -> None:
        self.message.observe(lambda change: self._tell(change["new"]), names="value")
        for widget in (self.network, self.beside):
            widget.observe(lambda _: self._busy or self._change_clip(), names="value")
        self.clips.observe(lambda _: self._busy or self._change_clip(), names="chosen")
        for widget in (self.map, self.gradients, *self.controls.values()):
            widget.observe(lambda _: self._busy or self._show(), names="value")
        for name in ("video_gain", "video_noise"):
            self.controls[name].observe(lambda _: self._busy or self._describe_ahead(), names="value")
        self.panels.observe(lambda _: self._busy or self._show(), names="masked")
        self.line.observe(lambda change: self._busy or self._restore(change["new"]), names="value")
        self.panels.on_msg(lambda _, message, buffers: self._notice(message))
        self.reset.on_click(lambda _: self.show(**self._kept()))
        self.save.on_click(lambda _: self._download())

    # what is shown

    @property
    def probe(self) -> Probe:
        """The network that is shown first, to be asked in code."""
        return self._probe(self.network.value)

    @property
    def change(self) -> Change:
        """What the controls do to the clip."""
        masked = {f"{name}_masked": tuple(map(tuple, self.panels.masked[name])) for name in ("audio", "video")}
        chosen = {name: widget.value for name, widget in self.controls.items()}
        return Change(**chosen | {"shift": round(chosen["shift"], 3)}, **masked)

    @property
    def view(self) -> dict[str, Any]:
        """All that is chosen, by name: `explorer.show(**view)` shows it again. What is as it was is left out."""
        change, usual = self.change, Change()
        changed = {field.name: getattr(change, field.name) for field in fields(Change)}
        return self._kept() | {name: value for name, value in changed.items() if value != getattr(usual, name)}

    def _kept(self) -> dict[str, Any]:
        """The part of the view that is no change of the clip."""
        chosen = {"clip": self.clips.chosen, "network": self.network.value, "beside": self.beside.value}
        chosen |= {"map": self.map.value if self.map.index else None, "gradients": self.gradients.value}
        return {name: value for name, value in chosen.items() if value}

    def show(self, **view) -> None:
        """Shows a clip as a view says; what it does not name is as it was. Raises InputError for what is not there."""
        known = {"clip", "network", "beside", "map", "gradients", *(field.name for field in fields(Change))}
        unknown = set(view) - known
        if unknown:
            raise InputError(f"a view has no '{min(unknown)}': give some of {', '.join(sorted(known))}")
        before, self._busy = self.view, True
        try:
            self._set(view)
        except InputError:
            self._set(before)
            raise
        finally:
            self._busy = False
        self._change_clip()

    def _set(self, view: dict[str, Any]) -> None:
        _choose(self.network, view.get("network", self.network.value), "network")
        _choose(self.beside, view.get("beside", ""), "beside")
        if view.get("clip", self.clips.chosen) is not None:
            self.clips.reach(view.get("clip", self.clips.chosen))
        self._offer_voices()
        for name, widget in self.controls.items():
            _choose(widget, view.get(name, getattr(Change(), name)), name)
        self.gradients.value = bool(view.get("gradients", False))
        self.panels.masked = {name: list(map(list, view.get(f"{name}_masked", ()))) for name in ("audio", "video")}
        self._offer_maps()
        _choose(self.map, view.get("map", next(iter(self.map.options), None)), "map")

    def figure(self) -> Figure:
        """The view as a figure that needs no kernel and no browser."""
        clip, change = self.clips.chosen, self.change
        about, probes = self.inputs.table.loc[clip], self.probes
        answers = {name: probe.answer(clip, change) for name, probe in probes.items()}
        before = {name: probe.answer(clip, Change()) for name, probe in probes.items()}
        scores = next(iter(probes.values())).attribution(clip, change) if self.gradients.value else {}
        seen, heard = self._video(clip, change), self._heard(clip, change)
        seen = (255 * np.moveaxis(seen, 1, -1)).round().astype(np.uint8) if seen.ndim == 4 else seen.T
        masked = {name: getattr(change, f"{name}_masked") for name in ("audio", "video")}
        return explored(
            answers,
            before,
            seen,
            heard,
            names=self.names,
            truth=self._truth(about),
            title=f"{clip}: {about['emotion']}, actor {about['actor']}",
            clock=self.clock,
            cues=self._cues.get(clip),
            masked=masked,
            scores=scores,
            which=self._which(),
        )

    # what happens when something is chosen

    def _change_clip(self) -> None:
        """Shows another clip or network, and offers what it has."""
        self._busy = True
        try:
            self.message.value = ""
            self.clips.take(self._table(self._subject(self.network.value)))
            self._offer_voices()
            self._offer_maps()
        except InputError as error:
            self.message.value = str(error)
        finally:
            self._busy = False
        self._show()
        self._describe_ahead()

    def _describe_ahead(self) -> None:
        """In the background, what the next move of a slider of the picture will need; not where nobody looks."""
        clip = self.clips.chosen
        if self._watched and self.inputs.clips.store.video.ndim == 5 and clip is not None and not self.message.value:
            self._ahead.do(self._describing(list(self.probes.values()), clip, self.change))

    def _describing(self, probes: list[Probe], clip: str, change: Change) -> Iterator[None]:
        """Describes frames piece by piece: of this clip for all moves from here, then of its neighbours as they are."""
        needed = [(clip, moved) for moved in changes_of_picture(change, GAINS, NOISES)]
        needed += [(other, seen) for other in self.clips.neighbours for seen in (Change(), change.of("video"))]
        for name, seen in needed:
            self._small(name, seen.video_noise)
            for probe in probes:
                if "video" in probe.net.fusion.modalities and seen.video_gain:
                    for _ in probe.describing(name, seen):
                        yield

    def _notice(self, message: dict) -> None:
        """A browser shows the figures: from now on it is worth to work ahead."""
        if message.get("shown") and not self._watched:
            self._watched = True
            self._describe_ahead()

    def _show(self) -> None:
        """One step: asks the networks about the clip as it is now, and sends what has changed to the browser."""
        clip, change = self.clips.chosen, self.change
        self.message.value = "" if clip else "No clip passes these filters."
        if not clip:
            return
        try:
            with self._ahead.paused():
                shown = {"networks": [self._network(name, probe, clip, change) for name, probe in self.probes.items()]}
                seen, (heard, sound) = self._seen(clip, change.of("video")), self._sounds(clip, change.of("audio"))
        except InputError as error:
            self.message.value = str(error)
            return
        with self.panels.hold_sync():
            self.panels.about, self.panels.shown, self.panels.volume = self._about(clip), shown, change.audio_gain
            self.panels.seen, self.panels.heard, self.panels.sound = seen, heard, sound
        self._busy = True
        self.line.value = f"explorer.show({', '.join(f'{name}={value!r}' for name, value in self.view.items())})"
        self._busy = False

    def _tell(self, words: str) -> None:
        self.message.layout.display = None if words else "none"  # an empty line takes no room

    def _restore(self, line: str) -> None:
        """Shows the view of a line of code that was saved; anything else is refused in a sentence."""
        try:
            call = ast.parse(line.strip(), mode="eval").body
            if call.args or ast.unparse(call.func) != "explorer.show":
                raise ValueError
            view = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
            self.show(**view)
        except InputError as error:
            self.message.value = str(error)
        except Exception:  # any text can be written there
            self.message.value = "this is no saved view: paste a line such as explorer.show(clip='…', shift=0.5)"

    def _download(self) -> None:
        if self.clips.chosen is None or self.message.value:  # there is nothing to save
            return
        png = as_png(self.figure(), description=self.line.value)
        self.panels.download(f"{self.clips.chosen}.png", png)

    def _offer_voices(self) -> None:
        """All clips with a sound, those of the same actor first; of many clips only these."""
        table, clip = self.inputs.table, self.clips.chosen
        if clip is None:
            return
        table = table[table["has_audio"] & (table["clip"] != clip)]
        same = table["actor"] == self.inputs.table.loc[clip, "actor"]
        table = pd.concat([table[same], table[~same] if len(table) <= MOST_VOICES else table[:0]])
        voices = [
            (f"{emotion}, actor {actor}: {name}", name)
            for name, emotion, actor in table[["clip", "emotion", "actor"]].itertuples(index=False)
        ]
        self._replace_options(self.controls["voice"], [("itself", ""), *voices])

    def _offer_maps(self) -> None:
        if self.clips.chosen is None:
            return
        maps = self._probe(self.network.value).answer(self.clips.chosen, Change()).maps
        names = [live.map_name(direction, head) for direction, found in maps.items() for head in range(len(found))]
        self._replace_options(self.map, names)
        self.map.layout.display = None if names else "none"

    def _replace_options(self, widget: widgets.Dropdown, options: list) -> None:
        if tuple(options) == tuple(widget.options):
            return
        chosen, values = widget.value, [option[1] if isinstance(option, tuple) else option for option in options]
        widget.options = options
        widget.value = chosen if chosen in values else next(iter(values), None)

    # pieces

    def _subject(self, name: str) -> Subject:
        if name not in self._subjects:
            given = self._networks[name]
            self._subjects[name] = given if isinstance(given, Subject) else given()
        return self._subjects[name]

    def _probe(self, name: str) -> Probe:
        if name not in self._probes:
            subject = self._subject(name)
            self._probes[name] = Probe(subject.net, self.inputs, subject.conditions)
        return self._probes[name]

    @property
    def probes(self) -> dict[str, Probe]:
        """The one or two networks that are shown, by name."""
        return {name: self._probe(name) for name in (self.network.value, self.beside.value) if name}

    def _table(self, subject: Subject) -> pd.DataFrame:
        table = self.inputs.table.reset_index(drop=True)
        return table if subject.predictions is None else answered(table, subject.predictions)

    def _network(self, name: str, probe: Probe, clip: str, change: Change) -> dict[str, Any]:
        """What live.js draws of one network."""
        first = name == self.network.value  # gradients of the other one are not drawn
        scores = probe.attribution(clip, change) if self.gradients.value and first else None
        answer, before = probe.answer(clip, change), probe.answer(clip, Change())
        return live.as_drawn(name, answer, before, self._which(), scores)

    def _which(self) -> tuple[str, int] | None:
        """Direction and head of the map that is shown."""
        if self.map.value is None:
            return None
        direction, _, head = self.map.value.partition(", head ")
        return direction.replace(" ", "_"), int(head) - 1

    def _about(self, clip: str) -> dict[str, Any]:
        about, cues = self.inputs.table.loc[clip], self._cues.get(clip) or {}
        store, sentiment = self.inputs.clips.store, isinstance(self.task, Sentiment)
        return {
            "length": self.clock.length,
            "label": self.clock.label,
            "unit": self.clock.unit,
            "hop": HOP / SAMPLE_RATE if self.inputs.has_sound else 0,
            "pictures": store.video.shape[1] if store.video.ndim == 5 else 0,
            "names": self.names,
            "truth": self._truth(about),
            "sentiment": sentiment,
            "range": [-3, 3] if sentiment else [0, 1],
            "cues": {modality: cues[cue] for modality, cue in CUE.items() if cue in cues},
        }

    @property
    def names(self) -> list[str]:
        """The names of the outputs: the classes, or `sentiment`."""
        return ["sentiment"] if isinstance(self.task, Sentiment) else list(self.task.names)

    def _truth(self, about: pd.Series) -> str:
        label = self.inputs.clips.labels[self.inputs.place[about["clip"]]].item()
        return f"{label:+.2f}" if isinstance(self.task, Sentiment) else self.task.names[label]

    def _video(self, clip: str, change: Change) -> np.ndarray:
        return self.inputs.video(clip, change)[0].cpu().numpy()

    def _small_video(self, clip: str, noise: float) -> np.ndarray:
        """The video in the size of the strip, noisy, before masks and gain."""
        return live.small(self._video(clip, Change(video_noise=noise)))

    def _strip(self, clip: str, change: Change) -> bytes:
        video = self._small(clip, change.video_noise).copy()
        video[self.inputs.masked("video", change).numpy()] = 0
        return live.strip(video * change.video_gain)

    def _heard(self, clip: str, change: Change) -> np.ndarray:
        """The log-mel spectrogram of what is heard; without a sound, the features."""
        samples = self.inputs.sound(clip, change)
        if samples is None:
            return self.inputs.audio(clip, change)[0].cpu().numpy()
        from workbook.data.audio import log_mel  # librosa takes a second

        return log_mel(samples)

    def _heard_and_sound(self, clip: str, change: Change) -> tuple[bytes, bytes]:
        """The picture of what is heard, and the wav file, in one loudness for all changes of a clip."""
        values, samples = self._heard(clip, change), self.inputs.sound(clip, change)
        peak = float(np.abs(self.inputs.sound(change.voice or clip, Change())).max()) if samples is not None else 1.0
        shown = (
            live.spectrogram_png(values, change.audio_gain) if samples is not None else live.heat_png(values, "audio")
        )
        return shown, live.wav(samples, SAMPLE_RATE, peak)


def explore(
    networks: dict[str, Subject | Callable[[], Subject]],
    clips: Clips,
    first: str | None = None,
    cues: dict[str, Cues] | None = None,
) -> Explorer:
    """The explorer of some clips under some networks, for the last line of a notebook cell.

    networks : by the name they are shown with; a function is called when its network is chosen
    clips : of one test; their network reads the same data      first : the clip to open on, None = the first one
    cues : by the name of a clip its true spans on the clock, as `cues_by_clip`; None = nobody knows
    """
    return Explorer(networks, clips, first, cues)


_LOOK = {
    "style": {"description_width": "108px"},
    "layout": {"width": "auto", "min_width": "0", "flex": "1 1 0"},
}


def _slider(name: str, options: list, value) -> widgets.SelectionSlider:
    return widgets.SelectionSlider(description=name, options=options, value=value, **_LOOK)


def _choose(widget: widgets.Widget, value, name: str) -> None:
    try:
        widget.value = value
    except Exception:  # traitlets' own kinds
        raise InputError(f"{name} cannot be {value!r} here") from None
