"""The explorer's figures in the browser: numbers and small pictures go there, live.js draws them.

Nothing is drawn in Python for a step: some kilobytes go to the browser, which changes the figures it shows. So a step
takes the time of the network, and the cursor can follow the sound. `plots.explored` draws the same for readers without
a kernel.
"""

from io import BytesIO
from pathlib import Path

import anywidget
import numpy as np
import traitlets
from IPython.display import Audio
from matplotlib import colormaps
from PIL import Image

from avlib.lab.plots.attention import multiples_of_even
from avlib.lab.plots.panels import AROUND, SHADE, reach_of, standardised

HERE = Path(__file__).parent
HEIGHT = 72  # pixels of a face in the strip


class LivePanels(anywidget.AnyWidget):
    """The figures of one changed clip. All traits of a step are set in one `hold_sync`, and drawn at once."""

    _esm, _css = HERE / "live.js", HERE / "live.css"
    about = traitlets.Dict().tag(sync=True)  # of the clip: length, label and unit of its clock, names, truth, cues, ...
    shown = traitlets.Dict().tag(sync=True)  # networks: of each what it says, its attention, and both before the change
    seen = traitlets.Bytes().tag(sync=True)  # PNG
    heard = traitlets.Bytes().tag(sync=True)  # PNG
    sound = traitlets.Bytes().tag(sync=True)  # wav; empty where there is nothing to hear
    volume = traitlets.Float(1.0).tag(sync=True)
    masked = traitlets.Dict({"audio": [], "video": []}).tag(sync=True)  # spans, which the browser changes, too

    def download(self, name: str, png: bytes) -> None:
        """Gives a file to the browser, which saves it as it saves downloads."""
        self.send({"download": name}, [png])


def strip_png(video: np.ndarray) -> bytes:
    """A row of faces (Tv, 3, S, S) in [0, 1], or a heat map of features (Tv, C), as a PNG."""
    if video.ndim == 2:
        return heat_png(video.T, "video")
    step = max(1, video.shape[-1] // HEIGHT)
    small = video[:, :, ::step, ::step]
    return _png((np.concatenate(list(small.transpose(0, 2, 3, 1)), axis=1) * 255).round().astype(np.uint8))


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


def wav(samples: np.ndarray | None, rate: int) -> bytes:
    """The sound as a wav file at full volume; empty where it is silent."""
    return Audio(samples, rate=rate).data if samples is not None and np.any(samples) else b""


def _coloured(colours, values: np.ndarray, low: float, high: float) -> np.ndarray:
    return colours((values - low) / max(high - low, 1e-12), bytes=True)[..., :3]


def _png(pixels: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, format="png", compress_level=1)
    return file.getvalue()
