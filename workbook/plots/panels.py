"""The panels that show what goes into the network, and what every figure shares: colours, empty axes, saving.

Time is in seconds of the window, or, where a corpus knows none, the place in the clip: a `Clock` says which. Blue is
audio, orange is video, green is both, in every figure.
"""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from workbook import InputError
from workbook.data.window import HOP, SAMPLE_RATE, WINDOW
from workbook.files import atomic_write

AUDIO, VIDEO, BOTH = "#0173b2", "#de8f05", "#029e73"  # from seaborn's colour-blind palette
COLOUR = {"video": VIDEO, "audio": AUDIO}  # and the order in which the two stand in a figure
INK, QUIET, SHADE = "#333333", "#8a8a8a", "#e4e4e4"
CONDITION_STYLE = {  # colour and meaning of each condition, and the order in which they stand in a figure
    "AV": (BOTH, "both"),
    "A": (AUDIO, "audio alone"),
    "V": (VIDEO, "video alone"),
    "M": (QUIET, "mean"),
    "A noise": (AUDIO, "noise for video"),
    "V noise": (VIDEO, "noise for audio"),
    "A zeros": (AUDIO, "zeros for video"),
    "V zeros": (VIDEO, "zeros for audio"),
}
AROUND = {"audio": sns.blend_palette([INK, "white", AUDIO], as_cmap=True)}
AROUND["video"] = sns.blend_palette([INK, "white", VIDEO], as_cmap=True)
ORIGIN_COLOUR = {"real": "#2b4162", "toy": "#a0528c", "paper": "#8a8a8a"}  # of results: they never mix
HALO = [withStroke(linewidth=2.5, foreground="white")]  # keeps a number readable where a line crosses it
WIDTH = 8.0  # inches of every full-width figure: at 150 dpi just over what GitHub shows, so text keeps its size


@dataclass(frozen=True)
class Clock:
    """What the time axis of a figure counts, from 0 to `length`."""

    length: float
    label: str  # of a time axis
    unit: str  # in brackets behind the name of what it is the time of

    def at(self, time: float) -> str:
        """A time in words, such as `1.74 s` or `0.29 of the clip`."""
        return f"{time:.2f} {'s' if self.unit == 's' else 'of the clip'}"


SECONDS = Clock(WINDOW, "time (s)", "s")  # of the window, in clips
PLACE = Clock(1.0, "place in the clip", "place")  # in features, whose steps have no seconds


def save(figure: Figure | Axes, path: str | Path) -> Path:
    """The path of the saved figure (150 dots per inch, tight); the file appears whole or not at all."""
    path = Path(path)
    with atomic_write(path) as unfinished:
        figure.figure.savefig(unfinished, dpi=150, bbox_inches="tight", facecolor="white")
    return path


def as_png(figure: Figure, description: str, dpi: int = 150) -> bytes:
    """The figure as a PNG file; the description is among its metadata."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=dpi, facecolor="white", metadata={"Description": description})
    return file.getvalue()


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


def time_span(times: np.ndarray, clock: Clock = SECONDS) -> tuple[float, float, float]:
    """Left edge, right edge and width of one step of evenly spread step centres; a single step is the whole clip."""
    step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else clock.length
    return times[0] - step / 2, times[-1] + step / 2, step


def even_times(steps: int, clock: Clock = SECONDS) -> np.ndarray:
    """The centres (steps,) of steps that share the clip evenly among them."""
    return (np.arange(steps) + 0.5) * clock.length / steps


def faces(
    strip: np.ndarray,
    times: np.ndarray | None = None,
    ax: Axes | None = None,
    clock: Clock = SECONDS,
    filled: float = 0.96,
) -> Axes:
    """A row of face crops; with `times`, each frame is centred at its time on an axis of the clock.

    strip : (Tv, S, S, 3) uint8 RGB        times : (Tv,) on the clock, evenly spread
    filled : the part of its share of the axis that a picture covers, in (0, 1]
    """
    ax = tidy_axes(ax, WIDTH, WIDTH / len(strip) + (0.1 if times is None else 0.6))
    if times is not None and len(times) != len(strip):
        raise InputError(f"the strip has {len(strip)} frames and {len(times)} times: give one time per frame.")
    left, right, step = time_span(np.arange(len(strip)) if times is None else np.asarray(times, dtype=float), clock)
    half = filled * step / 2
    for frame, centre in zip(strip, left + step * (np.arange(len(strip)) + 0.5), strict=True):
        ax.imshow(frame, extent=(centre - half, centre + half, 0, 1), aspect=2 * half)
    ax.set(xlim=(left, right), ylim=(0, 1), yticks=[])
    ax.spines[:].set_visible(False)
    ax.set(xticks=[]) if times is None else ax.set_xlabel(clock.label)
    return ax


def features(values: np.ndarray, modality: str, ax: Axes | None = None, clock: Clock = PLACE) -> Axes:
    """A sequence of features over its clip, each channel standardised for display: white is its mean in this clip.

    The axis says so too. A sequence of a single step is standardised over its channels.

    values : (C, T), any scales        modality : audio | video, for the colour
    """
    shown = standardised(np.asarray(values, dtype=float))
    ax = heat_map(shown, modality, reach_of(shown), ax, clock)
    ax.set_ylabel(f"{len(values)} channel{'s' * (len(values) > 1)},\nstandardised", fontsize=9)
    return ax


def heat_map(values: np.ndarray, modality: str, reach: float, ax: Axes | None = None, clock: Clock = PLACE) -> Axes:
    """Channels over a clip in the colour of their modality: white at 0, full at +-reach; values : (C, T)."""
    ax = tidy_axes(ax, WIDTH, 2.2)
    extent = (0, clock.length, -0.5, len(values) - 0.5)
    colours = {"cmap": AROUND[modality], "vmin": -reach, "vmax": reach}
    ax.imshow(values, extent=extent, origin="lower", aspect="auto", interpolation="none", **colours)
    ax.set(xlim=(0, clock.length), xlabel=clock.label, ylabel="channel", yticks=[])
    return ax


def standardised(values: np.ndarray) -> np.ndarray:
    """The rows of (C, T) with mean 0 and deviation 1; rows that are constant become 0."""
    axis = _axis_of_scale(values)
    deviation, size = values.std(axis=axis, keepdims=True), np.abs(values).max(axis=axis, keepdims=True)
    varies = deviation > 1e-6 * size  # less is rounding
    return np.where(varies, (values - values.mean(axis=axis, keepdims=True)) / np.where(varies, deviation, 1), 0)


def _axis_of_scale(values: np.ndarray) -> int:
    """Each channel of (C, T) has its own scale, over its steps; where there is one step, the channels share one."""
    return 1 if values.shape[1] > 1 else 0


def reach_of(values: np.ndarray) -> float:
    """The size that 98 % of the values do not exceed, above 0: the end of a colour scale that no outlier stretches."""
    return float(np.percentile(np.abs(values), 98)) or 1.0


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
    from librosa import mel_frequencies  # here, so that other figures need no librosa

    hertz = np.array([250, 1000, 4000])
    centres = mel_frequencies(bands, fmin=0.0, fmax=SAMPLE_RATE / 2)
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


def heard(log_mel: np.ndarray, coefficients: np.ndarray, hop_seconds: float = HOP / SAMPLE_RATE) -> Figure:
    """A clip's spectrogram above its MFCCs, on one time axis, a colour bar beside each; arguments as above."""
    figure = new_figure(height=4.4)
    figure.set_layout_engine("constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    spectrogram(log_mel, hop_seconds, above).set(xlabel="")
    mfcc(coefficients, hop_seconds, below)
    above.tick_params(labelbottom=False, bottom=False)
    for ax, label in ((above, "decibels"), (below, "MFCC")):
        bar = figure.colorbar(ax.images[0], ax=ax, pad=0.01)
        bar.set_label(label, fontsize=9)
        bar.ax.tick_params(labelsize=9)
    return figure


def frame(image: np.ndarray, box: np.ndarray, ax: Axes | None = None) -> Axes:
    """A whole frame, with the box around its face.

    image : (H, W, 3) uint8 RGB        box : left, top, right, bottom in pixels, all NaN where there is no face
    """
    ax = tidy_axes(ax, 5, 5 * len(image) / image.shape[1])
    ax.imshow(image)
    left, top, right, bottom = box
    ax.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=VIDEO, linewidth=2.5))
    ax.set_axis_off()
    return ax


def named_frames(images: np.ndarray, names: list[str], columns: int = 6) -> Figure:
    """Single frames in rows, each below its name; images : (N, S, S, 3) uint8 RGB."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(rows * (WIDTH / 6 + 0.15), columns * WIDTH / 6)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, image, name in zip(panels, images, names, strict=False):
        ax.imshow(image)
        ax.set_title(name, fontsize=10)
    for ax in panels:
        ax.set_axis_off()
    return figure


def dropout_variants(audio: np.ndarray, video: np.ndarray, names: list[str], clock: Clock = SECONDS) -> Figure:
    """What modality dropout makes of one clip: a row per variant, its audio, then up to 8 of its frames, or features.

    Each channel of MFCCs or features is divided by its size in the first variant. White is 0 in every variant, and a
    softened one is paler; what it was multiplied by stands under its name.

    audio : (variants, Ca, Ta)        video : (variants, Tv, 3, H, W) in [0, 1], or features (variants, Tv, Cv)
    names : one per variant
    """
    audio, video = np.asarray(audio), np.asarray(video)
    if not len(audio) == len(video) == len(names):
        raise InputError(
            f"{len(audio)} audio variants, {len(video)} video variants, {len(names)} names: give as many of each."
        )
    pictures = video.ndim == 5
    row = min(0.6 * WIDTH / min(video.shape[1], 8), 1.2) + 0.1 if pictures else 0.9  # inches
    height = len(names) * row + 0.7
    figure = new_figure(height)
    grid = figure.subplots(len(names), 2, width_ratios=[1, 2.6 if pictures else 1], squeeze=False)
    edges = {"left": 0.14, "right": 0.995, "top": 1 - 0.25 / height, "bottom": 0.45 / height}
    figure.subplots_adjust(**edges, wspace=0.03 if pictures else 0.1, hspace=0.1)
    _feature_variants(grid[:, 0], audio, "audio", clock)
    if pictures:
        _frame_variants(grid[:, 1], video)
    else:
        _feature_variants(grid[:, 1], video.swapaxes(1, 2), "video", clock)
    for ax, name, *both in zip(grid[:, 0], names, audio, video, strict=True):
        label = "\n".join([name, *_softened(both, (audio[0], video[0]))])
        ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=10)
    for ax, modality in zip(grid[0], ("audio", "video"), strict=True):
        ax.title.set(color=COLOUR[modality], fontsize=10, fontweight="bold")
    return figure


def _softened(variant: tuple[np.ndarray, np.ndarray], full: tuple[np.ndarray, np.ndarray]) -> list[str]:
    """What audio and video were multiplied by, in words; nothing of one that is whole, gone or replaced."""
    words = []
    for name, values, whole in zip(("audio", "video"), variant, full, strict=True):
        factor = float((values * whole).sum() / max((whole * whole).sum(), 1e-12))
        if 1e-6 < factor < 1 - 1e-6 and np.allclose(values, factor * whole, atol=1e-4 * np.abs(whole).max()):
            words.append(f"{name} × {factor:.2f}")
    return words


def _frame_variants(axes: np.ndarray, variants: np.ndarray) -> None:
    """variants : (variants, Tv, 3, H, W) in [0, 1]"""
    shown = np.linspace(0, variants.shape[1] - 1, min(variants.shape[1], 8)).round().astype(int)
    pictures = (np.moveaxis(variants[:, shown], 2, -1).clip(0, 1) * 255).round().astype(np.uint8)  # (…, H, W, 3)
    for ax, frames in zip(axes, pictures, strict=True):
        faces(frames, ax=ax).set_anchor("N")
    axes[0].set_title("video: frames")


def _feature_variants(axes: np.ndarray, variants: np.ndarray, modality: str, clock: Clock) -> None:
    """variants : (variants, C, T)"""
    size = np.abs(variants[0]).mean(axis=_axis_of_scale(variants[0]), keepdims=True)
    scaled = variants / np.where(size > 0, size, 1)
    for ax, variant in zip(axes, scaled, strict=True):
        heat_map(variant, modality, reach_of(scaled[0]), ax, clock)
    _share_time(axes)
    axes[0].set_title(f"{modality}: {variants.shape[1]} channels, scaled")


def _share_time(axes: np.ndarray) -> None:
    """Makes a column of panels a strip with one time axis, below the last."""
    for ax in axes:
        last = ax is axes[-1]
        ax.spines[:].set(visible=True, color=SHADE)
        ax.tick_params(labelbottom=last, bottom=last)
        ax.set(yticks=[], ylabel="", xlabel=ax.get_xlabel() if last else "")
