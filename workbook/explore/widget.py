"""The explorer's figure in a browser: Python sends numbers and small pictures, widget.js draws them.

Python draws nothing for a step, so a step takes the time of the network, and the cursor can follow the sound.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from workbook.attention.truth import CUE
from workbook.data.window import HOP, SAMPLE_RATE
from workbook.explore.pictures import map_png
from workbook.explore.probe import Answer, in_words
from workbook.explore.view import View, map_name
from workbook.plots.style import AUDIO, BOTH, COLOUR, CONDITION_STYLE, INK, QUIET, SHADE, VIDEO, text_colour

FOLDER = Path(__file__).parent
LOOK = {
    "colours": COLOUR | {"ink": INK, "quiet": QUIET, "shade": SHADE},
    "text": {colour: text_colour(colour) for colour in (AUDIO, VIDEO, BOTH)},
}


class FigureWidget(anywidget.AnyWidget):
    """The figure of one changed clip. A step sets its traits in one `hold_sync`, so that they are drawn at once."""

    _esm, _css = FOLDER / "widget.js", FOLDER / "widget.css"
    view = traitlets.Dict().tag(sync=True)  # as `as_drawn`
    video = traitlets.Bytes().tag(sync=True)  # a row of faces as JPEG, or features as PNG
    audio = traitlets.Bytes().tag(sync=True)  # a spectrogram, or features, as PNG
    sound = traitlets.Bytes().tag(sync=True)  # wav; empty where there is none
    volume = traitlets.Float(1.0).tag(sync=True)
    masked = traitlets.Dict({"audio": [], "video": []}).tag(sync=True)  # spans, which the browser changes, too

    def download(self, name: str, png: bytes) -> None:
        """Makes the browser download a file."""
        self.send({"download": name}, [png])


def as_drawn(view: View, frames: int, has_hops: bool) -> dict[str, Any]:
    """A view as widget.js draws it: numbers, the colours of all figures, and attention maps as PNG.

    frames : in the row of faces, 0 = features      has_hops : audio step k is at k hops, not a share of the clip
    """
    networks = [_network(view, name) for name in view.answers]
    answers = [f"{name}: {in_words(answer, view.names)}" for name, answer in view.answers.items()]
    if view.scores:
        networks[0]["scores"] = {modality: values.tolist() for modality, values in view.scores.items()}
    return {
        "title": view.title,
        "words": " ".join(answers).replace("**", ""),
        "clock": asdict(view.clock),
        "frames": frames,
        "hop": HOP / SAMPLE_RATE if has_hops else 0,
        "names": view.names,
        "truth": view.truth,
        "range": [0, 1] if len(view.names) > 1 else [-3, 3],
        "cues": {modality: view.cues[cue] for modality, cue in CUE.items() if cue in view.cues},
        "networks": networks,
        "conditions": {name: CONDITION_STYLE[name] for name in view.conditions},
    } | LOOK


def _network(view: View, name: str) -> dict[str, Any]:
    drawn = {"label": name, **_numbers(view.answers[name]), "before": _numbers(view.before[name])}
    if name in view.maps:
        direction, head = view.map_choice
        key, query = direction.split("_to_")
        words = map_name(direction, head, len(view.answers[name].maps[direction]))
        drawn["map"] = {"name": words, "key": key, "query": query, "png": map_png(view.maps[name], key, view.reach)}
    return drawn


def _numbers(answer: Answer) -> dict[str, dict[str, list[float]]]:
    parts = {"outputs": answer.outputs, "vectors": answer.vectors, "times": answer.times}
    return {part: {name: values.tolist() for name, values in arrays.items()} for part, arrays in parts.items()}
