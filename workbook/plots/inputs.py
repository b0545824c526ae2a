"""The inputs of the network: faces, features, sound, and the variants of modality dropout."""

from html import escape

import numpy as np
from IPython.display import HTML, Audio
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from workbook.data.window import HOP, SAMPLE_RATE
from workbook.plots.clock import PLACE, SECONDS, Clock, time_span
from workbook.plots.marks import bold_title, colour_bar, grid, new_figure, tidy_axes
from workbook.plots.style import AROUND, COLOUR, SHADE, VIDEO, WIDTH
from workbook.text import in_figure


def faces(
    strip: np.ndarray, times: np.ndarray, ax: Axes | None = None, clock: Clock = SECONDS, filled: float = 0.96
) -> Axes:
    """A row of face crops, each centred at its time on the clock.

    strip : (Tv, S, S, 3) uint8 RGB        times : (Tv,) on the clock, evenly spread
    filled : how much of its step a picture covers, in (0, 1]
    """
    ax = tidy_axes(ax, WIDTH, WIDTH / len(strip) + 0.6)
    left, right, step = time_span(times, clock)
    half = filled * step / 2
    for picture, centre in zip(strip, times, strict=True):
        ax.imshow(picture, extent=(centre - half, centre + half, 0, 1), aspect=2 * half)
    ax.set(xlim=(left, right), ylim=(0, 1), yticks=[], xlabel=clock.label)
    ax.spines[:].set_visible(False)
    return ax


def features(values: np.ndarray, modality: str, ax: Axes | None = None, clock: Clock = PLACE) -> Axes:
    """A sequence of features over its clip, as `standardised`: white is the mean of a channel in this clip.

    values : (C, T), any scales        modality : audio | video, for the colour
    """
    scaled = standardised(np.asarray(values, dtype=float))
    ax = heat_map(scaled, modality, reach_of(scaled), ax, clock)
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
    """The rows of (C, T) with mean 0 and deviation 1, constant rows 0; a single step over its channels."""
    axis = _axis_of_scale(values)
    deviation, size = values.std(axis=axis, keepdims=True), np.abs(values).max(axis=axis, keepdims=True)
    varies = deviation > 1e-6 * size  # less is rounding, which scipy's zscore would magnify
    return np.where(varies, (values - values.mean(axis=axis, keepdims=True)) / np.where(varies, deviation, 1), 0)


def _axis_of_scale(values: np.ndarray) -> int:
    """Each channel of (C, T) is scaled over its steps; a single step is scaled over its channels."""
    return 1 if values.shape[1] > 1 else 0


def reach_of(values: np.ndarray) -> float:
    """The end of a colour scale, above 0: the size that 98 % of the values do not exceed, so that no outlier counts."""
    return float(np.percentile(np.abs(values), 98)) or 1.0


def spectrogram(log_mel: np.ndarray, ax: Axes | None = None) -> Axes:
    """A log-mel spectrogram over seconds, its bands labelled with their centres in hertz.

    log_mel : (bands, steps) decibels; librosa's bands from 0 to 11 025 Hz, step k centred at k hops
    """
    from librosa import mel_frequencies  # here, so that other figures need no librosa

    ax = tidy_axes(ax, WIDTH, 2.2)
    _over_hops(ax, log_mel, cmap="magma")
    hertz = np.array([250, 1000, 4000])
    centres = mel_frequencies(len(log_mel), fmin=0.0, fmax=SAMPLE_RATE / 2)
    ax.set(yticks=np.interp(hertz, centres, np.arange(len(log_mel))), yticklabels=["250", "1k", "4k"], ylabel="hertz")
    return ax


def _over_hops(ax: Axes, values: np.ndarray, **look) -> None:
    """Draws rows (R, T) as an image over seconds, step k centred at k hops."""
    (rows, steps), hop = values.shape, HOP / SAMPLE_RATE
    extent = (-hop / 2, (steps - 0.5) * hop, -0.5, rows - 0.5)
    ax.imshow(values, extent=extent, origin="lower", aspect="auto", **look)
    ax.set(xlim=(0, (steps - 1) * hop), xlabel="time (s)")


def spectrogram_and_mfcc(log_mel: np.ndarray, coefficients: np.ndarray) -> Figure:
    """A clip's spectrogram above its MFCCs as they enter the network, on one time axis, a colour bar beside each.

    log_mel : as in `spectrogram`        coefficients : (10, Ta); their scale, logarithmic and signed, fits every clip
    """
    figure, ((above,), (below,)) = grid(2, 1, 4.4, sharex=True)
    spectrogram(log_mel, above).set(xlabel="")
    scale = SymLogNorm(linthresh=10, vmin=-1000, vmax=1000)
    _over_hops(below, coefficients, cmap=AROUND["audio"], norm=scale, interpolation="none")
    below.set(yticks=range(0, len(coefficients), 3), ylabel="coefficient")
    above.tick_params(labelbottom=False, bottom=False)
    colour_bar(above, "decibels", pad=0.01)
    colour_bar(below, "MFCC", pad=0.01)
    return figure


def contact_sheet(video: np.ndarray, rows: np.ndarray) -> Figure:
    """The faces of up to six clips, evenly spread over `rows`: a row per clip, a column per moment.

    video : (N, Tv, S, S, 3) uint8 RGB of a store
    """
    chosen = rows[np.linspace(0, len(rows) - 1, min(6, len(rows))).astype(int)]
    sheet = np.concatenate([np.concatenate(video[row], axis=1) for row in chosen])
    figure = new_figure(WIDTH * sheet.shape[0] / sheet.shape[1], layout=None)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.imshow(sheet)
    ax.axis("off")
    return figure


def frame(image: np.ndarray, box: np.ndarray) -> Axes:
    """A whole frame with a box around its face.

    image : (H, W, 3) uint8 RGB        box : left, top, right, bottom in pixels, all NaN where there is no face
    """
    ax = tidy_axes(None, 5, 5 * len(image) / image.shape[1])
    ax.imshow(image)
    left, top, right, bottom = box
    ax.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=VIDEO, linewidth=2.5))
    ax.set_axis_off()
    return ax


def named_frames(images: np.ndarray, names: list[str]) -> Figure:
    """Single frames in rows of up to six, each below its name; images : (N, S, S, 3) uint8 RGB."""
    columns = min(6, len(images))
    rows = -(-len(images) // columns)
    figure, panels = grid(rows, columns, rows * (WIDTH / 6 + 0.15), columns * WIDTH / 6)
    for ax in panels.flat:
        ax.set_axis_off()
    for ax, image, name in zip(panels.flat, images, names, strict=False):
        ax.imshow(image)
        ax.set_title(in_figure(name), fontsize=10)
    return figure


def dropout_variants(audio: np.ndarray, video: np.ndarray, names: list[str], clock: Clock = SECONDS) -> Figure:
    """The variants of one clip by modality dropout: a row each, its audio, then up to 8 of its frames, or features.

    Each channel of MFCCs or features is divided by its size in the first variant. White is 0 in every variant. A
    softened variant is paler, and its factor stands under its name.

    audio : (variants, Ca, Ta)        video : (variants, Tv, 3, H, W) in [0, 1], or features (variants, Tv, Cv)
    names : one per variant
    """
    audio, video = np.asarray(audio), np.asarray(video)
    pictures = video.ndim == 5
    row = min(0.6 * WIDTH / min(video.shape[1], 8), 1.2) + 0.1 if pictures else 0.9  # inches
    figure, panels = grid(len(names), 2, len(names) * row + 0.7, width_ratios=[1, 2.6 if pictures else 1])
    _feature_variants(panels[:, 0], audio, "audio", clock)
    if pictures:
        chosen = np.linspace(0, video.shape[1] - 1, min(video.shape[1], 8)).round().astype(int)
        for ax, frames in zip(panels[:, 1], np.moveaxis(video[:, chosen], 2, -1).clip(0, 1), strict=True):
            faces(frames, np.arange(len(frames)), ax).set(anchor="N", xticks=[], xlabel="")
        bold_title(panels[0, 1], "video: frames", VIDEO, loc="center")
    else:
        _feature_variants(panels[:, 1], video.swapaxes(1, 2), "video", clock)
    for ax, name, sound, picture in zip(panels[:, 0], names, audio, video, strict=True):
        lines = [name, *_factor("audio", sound, audio[0]), *_factor("video", picture, video[0])]
        ax.set_ylabel("\n".join(lines), rotation=0, ha="right", va="center", fontsize=10)
    return figure


def _factor(modality: str, values: np.ndarray, intact: np.ndarray) -> list[str]:
    """The factor of a softened modality in words; nothing where it is intact, gone or replaced."""
    factor = float((values * intact).sum() / max((intact * intact).sum(), 1e-12))
    is_softened = 1e-6 < factor < 1 - 1e-6 and np.allclose(values, factor * intact, atol=1e-4 * np.abs(intact).max())
    return [f"{modality} × {factor:.2f}"] * is_softened


def _feature_variants(axes: np.ndarray, variants: np.ndarray, modality: str, clock: Clock) -> None:
    """variants : (variants, C, T); one time axis for all, below the last"""
    size = np.abs(variants[0]).mean(axis=_axis_of_scale(variants[0]), keepdims=True)
    scaled = variants / np.where(size > 0, size, 1)
    for ax, variant in zip(axes, scaled, strict=True):
        heat_map(variant, modality, reach_of(scaled[0]), ax, clock)
        last = ax is axes[-1]
        ax.spines[:].set(visible=True, color=SHADE)
        ax.tick_params(labelbottom=last, bottom=last)
        ax.set(ylabel="", xlabel=clock.label if last else "")
    bold_title(axes[0], f"{modality}: {variants.shape[1]} channels, scaled", COLOUR[modality], loc="center")


def sound(samples: np.ndarray, words: str) -> HTML:
    """A player of a mono sound at SAMPLE_RATE, which a screen reader announces by these words."""
    player = Audio(samples, rate=SAMPLE_RATE)._repr_html_()
    return HTML(player.replace("<audio", f'<audio aria-label="{escape(words)}"', 1) + f"<div>{escape(words)}</div>")
