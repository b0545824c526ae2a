"""The explorer's figure in a browser: Python sends numbers and small pictures, widget.js draws them.

Python draws nothing for a step, so a step takes the time of the network, and the cursor can follow the sound.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from workbook.attention.truth import CUE
from workbook.explore.figure import View
from workbook.explore.pictures import heat_png
from workbook.explore.probe import Answer
from workbook.plots.attention import multiples_of_even
from workbook.plots.clock import SECONDS
from workbook.plots.style import AROUND, AUDIO, BOTH, COLOUR, CONDITION_STYLE, INK, QUIET, SHADE, VIDEO, text_colour

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


def as_drawn(view: View) -> dict[str, Any]:
    """A view as widget.js draws it: numbers, the colours of all figures, and attention maps as PNG."""
    networks = [_network(view, name) for name in view.answers]
    if view.scores:
        networks[0]["scores"] = _lists(view.scores)
    return LOOK | {
        "title": view.title,
        "words": view.words,
        "clock": asdict(view.clock),
        "frames": len(view.times["video"]) if view.clock is SECONDS else 0,  # in the row of faces; 0 = features
        "times": _lists(view.times),
        "names": view.names,
        "truth": view.truth,
        "range": [0, 1] if len(view.names) > 1 else [-3, 3],
        "cues": {modality: view.cues[cue] for modality, cue in CUE.items() if cue in view.cues},
        "conditions": {name: CONDITION_STYLE[name] for name in view.conditions},
        "networks": networks,
    }


def _network(view: View, name: str) -> dict[str, Any]:
    network = {"label": name, **_numbers(view.answers[name]), "before": _numbers(view.before[name])}
    if name in view.maps:
        (words, weights), (key, query) = view.maps[name], view.head[0].split("_to_")
        values, colours = multiples_of_even(weights), AROUND[key].with_extremes(bad=SHADE)
        png = heat_png(values, colours, 1 - view.reach, 1 + view.reach)
        network["map"] = {"name": words, "key": key, "query": query, "png": png}
    return network


def _numbers(answer: Answer) -> dict[str, dict[str, list[float]]]:
    return {name: _lists(getattr(answer, name)) for name in ("outputs", "vectors", "times")}


def _lists(arrays: dict) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in arrays.items()}
