"""The explorer's figures in the browser: numbers and small pictures go there, live.js draws them.

Nothing is drawn in Python for a step: some kilobytes go to the browser, which changes the figures it shows. So a step
takes the time of the network, and the cursor can follow the sound. `figure.explored` draws the same for readers without
a kernel.
"""

from io import BytesIO
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from IPython.display import Audio
from matplotlib import colormaps
from PIL import Image

from workbook.explore.probe import Answer
from workbook.plots.attention import multiples_of_even
from workbook.plots.panels import AROUND, SHADE, reach_of, standardised

HERE = Path(__file__).parent
HEIGHT = 72  # pixels of a face in the strip


class LivePanels(anywidget.AnyWidget):
    """The figures of one changed clip. All traits of a step are set in one `hold_sync`, and drawn at once."""

    _esm, _css = HERE / "live.js", HERE / "live.css"
    about = traitlets.Dict().tag(sync=True)  # of the clip: length, label and unit of its clock, names, truth, cues, ...
    shown = traitlets.Dict().tag(sync=True)  # networks: of each what it says, its attention, and both before the change
    seen = traitlets.Bytes().tag(sync=True)  # JPEG; of features PNG
    heard = traitlets.Bytes().tag(sync=True)  # PNG
    sound = traitlets.Bytes().tag(sync=True)  # wav; empty where there is nothing to hear
    volume = traitlets.Float(1.0).tag(sync=True)
    masked = traitlets.Dict({"audio": [], "video": []}).tag(sync=True)  # spans, which the browser changes, too

    def download(self, name: str, png: bytes) -> None:
        """Gives a file to the browser, which saves it as it saves downloads."""
        self.send({"download": name}, [png])


def as_drawn(
    name: str,
    answer: Answer,
    before: Answer,
    which: tuple[str, int] | None,
    scores: dict[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """What live.js draws of one network: what it says, its attention, and both before the clip was changed.

    which : direction and head (from 0) of the map; None, or one that it has not = no map
    scores : by modality, as `Probe.attribution`
    """
    drawn = _as_lists(answer) | {"label": name, "before": _as_lists(before)}
    if scores is not None:
        drawn["scores"] = {modality: found.tolist() for modality, found in scores.items()}
    if which and which[0] in answer.maps and which[1] < len(answer.maps[which[0]]):
        direction, head = which
        key, query = direction.split("_to_")
        words = {"map_name": map_name(direction, head), "map_key": key, "map_query": query}
        drawn |= words | {"map": map_png(answer.maps[direction][head], key)}
    return drawn


def map_name(direction: str, head: int) -> str:
    """A map in words, such as `video to audio, head 1`; head counts from 0."""
    return f"{direction.replace('_', ' ')}, head {head + 1}"


def _as_lists(answer: Answer) -> dict[str, dict[str, list[float]]]:
    """The numbers of an answer, its vectors in multiples of even attention."""
    parts = {"outputs": answer.outputs, "vectors": answer.vectors, "times": answer.times}
    return {part: {name: values.tolist() for name, values in found.items()} for part, found in parts.items()}


def small(video: np.ndarray) -> np.ndarray:
    """Frames (Tv, 3, S, S) in the size in which they are shown, about HEIGHT; features as they are."""
    step = max(1, video.shape[-1] // HEIGHT) if video.ndim == 4 else 1
    return video[..., ::step, ::step].copy()  # and let the large ones go


def strip(video: np.ndarray) -> bytes:
    """A row of faces (Tv, 3, S, S) in [0, 1] as a JPEG, or a heat map of features (Tv, C) as a PNG."""
    if video.ndim == 2:
        return heat_png(video.T, "video")
    row = np.concatenate(list(video.transpose(0, 2, 3, 1)), axis=1)  # (S, Tv * S, 3)
    file = BytesIO()
    Image.fromarray((row * 255).round().astype(np.uint8)).save(file, format="jpeg", quality=90, subsampling=0)
    return file.getvalue()


def heat_png(values: np.ndarray, modality: str) -> bytes:
    """Features (C, T) as a heat map, each channel standardised as in `plots.features`."""
    shown = standardised(values.astype(float))
    reach = reach_of(shown)
    return _png(_coloured(AROUND[modality], shown[::-1], -reach, reach))


def spectrogram_png(log_mel: np.ndarray, gain: float = 1.0) -> bytes:
    """A log-mel spectrogram (bands, steps) in decibels, darker with a gain below 1, as a PNG."""
    return _png((_coloured(colormaps["magma"], log_mel[::-1], log_mel.min(), log_mel.max()) * gain).astype(np.uint8))


def map_png(weights: np.ndarray, key: str) -> bytes:
    """An attention map (Tq, Tk), the first query below, in the colours of `plots.attention_map`, as a PNG."""
    relative = multiples_of_even(weights)
    reach = max(np.nanmax(relative) - 1, 1)
    return _png(_coloured(AROUND[key].with_extremes(bad=SHADE), relative[::-1], 1 - reach, 1 + reach))


def wav(samples: np.ndarray | None, rate: int, peak: float) -> bytes:
    """The sound as a wav file, in which `peak` has full volume; louder samples are cut. Empty where it is silent."""
    if samples is None or not np.any(samples):
        return b""
    return Audio(np.clip(samples / max(peak, 1e-9), -1, 1), rate=rate, normalize=False).data


def _coloured(colours, values: np.ndarray, low: float, high: float) -> np.ndarray:
    return colours((values - low) / max(high - low, 1e-12), bytes=True)[..., :3]


def _png(pixels: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, format="png", compress_level=1)
    return file.getvalue()
