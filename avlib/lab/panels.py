"""The panels that show what goes into the network, and what every figure shares: colours, empty axes, saving.

Time is always in seconds of the window. Blue is audio, orange is video, green is both, in every figure.
"""

from pathlib import Path

import librosa
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from avlib import InputError
from avlib.data.media import HOP, SAMPLE_RATE, WINDOW
from avlib.files import replacing

AUDIO, VIDEO, BOTH = "#0173b2", "#de8f05", "#029e73"  # from seaborn's colour-blind palette
INK, QUIET, SHADE = "#333333", "#8a8a8a", "#e4e4e4"
CONDITIONS = {"AV": (BOTH, "both"), "A": (AUDIO, "audio alone"), "V": (VIDEO, "video alone"), "M": (QUIET, "mean")}
INTENSITY = {"audio": sns.blend_palette(["white", AUDIO, "#02263c"], as_cmap=True)}
INTENSITY["video"] = sns.blend_palette(["white", VIDEO, "#4d2c00"], as_cmap=True)
AROUND = {"audio": sns.blend_palette([INK, "white", AUDIO], as_cmap=True)}
AROUND["video"] = sns.blend_palette([INK, "white", VIDEO], as_cmap=True)
HALO = [withStroke(linewidth=2.5, foreground="white")]  # keeps a number readable where a line crosses it
WIDTH = 8.0  # inches of every full-width figure: at 150 dpi just over what GitHub shows, so text keeps its size


def save(figure: Figure | Axes, path: str | Path) -> Path:
    """The path of the saved figure (150 dots per inch, tight); the file appears whole or not at all."""
    path = Path(path)
    with replacing(path) as unfinished:
        figure.figure.savefig(unfinished, dpi=150, bbox_inches="tight", facecolor="white")
    return path


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure that pyplot has already let go: it draws and saves as ever, and is shown once."""
    figure = plt.figure(figsize=(width, height))
    plt.close(figure)
    return figure


def tidy_axes(ax: Axes | None, width: float = WIDTH, height: float = 2.0) -> Axes:
    """The given axes, or new ones; without the upper and right spines."""
    if ax is None:
        _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    sns.despine(ax=ax)
    ax.tick_params(labelsize=9, color=QUIET)
    return ax


def time_span(times: np.ndarray) -> tuple[float, float, float]:
    """Left edge, right edge and width of one step, in seconds, of evenly spread step centres."""
    step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else WINDOW
    return times[0] - step / 2, times[-1] + step / 2, step


def faces(strip: np.ndarray, times: np.ndarray | None = None, ax: Axes | None = None) -> Axes:
    """A row of face crops; with `times`, each frame is centred at its time on an axis in seconds.

    strip : (Tv, S, S, 3) uint8 RGB        times : (Tv,) seconds, evenly spread
    """
    ax = tidy_axes(ax, WIDTH, WIDTH / len(strip) + (0.1 if times is None else 0.6))
    if times is not None and len(times) != len(strip):
        raise InputError(f"the strip has {len(strip)} frames and {len(times)} times: give one time per frame.")
    left, right, step = time_span(np.arange(len(strip)) if times is None else np.asarray(times, dtype=float))
    for frame, centre in zip(strip, left + step * (np.arange(len(strip)) + 0.5), strict=True):
        ax.imshow(frame, extent=(centre - 0.48 * step, centre + 0.48 * step, 0, 1), aspect=0.96 * step)
    ax.set(xlim=(left, right), ylim=(0, 1), yticks=[])
    ax.spines[:].set_visible(False)
    ax.set(xticks=[]) if times is None else ax.set_xlabel("time (s)")
    return ax


def waveform(samples: np.ndarray, rate: int, ax: Axes | None = None) -> Axes:
    """The sound pressure of a clip over its seconds; samples : (n,) in [-1, 1], rate in hertz."""
    ax = tidy_axes(ax, WIDTH, 1.6)
    ax.plot(np.arange(len(samples)) / rate, samples, color=AUDIO, linewidth=0.5)
    ax.set(xlim=(0, len(samples) / rate), xlabel="time (s)", ylabel="amplitude")
    return ax


def spectrogram(log_mel: np.ndarray, hop_seconds: float = HOP / SAMPLE_RATE, ax: Axes | None = None) -> Axes:
    """A log-mel spectrogram, time in seconds, mel bands labelled with their centre in hertz.

    log_mel : (bands, steps) decibels; librosa's bands from 0 to 11 025 Hz, step k centred at k * hop_seconds
    """
    ax = tidy_axes(ax, WIDTH, 2.2)
    bands, steps = log_mel.shape
    extent = (-hop_seconds / 2, (steps - 0.5) * hop_seconds, -0.5, bands - 0.5)
    ax.imshow(log_mel, extent=extent, origin="lower", aspect="auto", cmap="magma")
    hertz = np.array([250, 1000, 4000])
    centres = librosa.mel_frequencies(bands, fmin=0.0, fmax=SAMPLE_RATE / 2)
    ax.set(yticks=np.interp(hertz, centres, np.arange(bands)), yticklabels=["250", "1k", "4k"])
    ax.set(xlim=(0, (steps - 1) * hop_seconds), xlabel="time (s)", ylabel="hertz")
    return ax


def mfcc(coefficients: np.ndarray, hop_seconds: float = HOP / SAMPLE_RATE, ax: Axes | None = None) -> Axes:
    """MFCCs as they enter the network, over seconds; the colour scale is the same for every clip (logarithmic, signed).

    coefficients : (10, Ta); the image is `ax.images[0]`, for a colour bar
    """
    ax = tidy_axes(ax, WIDTH, 1.8)
    count, steps = coefficients.shape
    extent = (-hop_seconds / 2, (steps - 0.5) * hop_seconds, -0.5, count - 0.5)
    scale = SymLogNorm(linthresh=10, vmin=-1000, vmax=1000)
    ax.imshow(
        coefficients,
        extent=extent,
        origin="lower",
        aspect="auto",
        cmap=AROUND["audio"],
        norm=scale,
        interpolation="none",
    )
    ax.set(yticks=range(0, count, 3), xlim=(0, (steps - 1) * hop_seconds), xlabel="time (s)", ylabel="coefficient")
    return ax
