"""Every figure of the workbook, by one name: `plots.faces`, `plots.attention_over_clip`, `plots.confusion`, ...

A function that draws one panel takes `ax` (a new one where it is None) and returns it; a function that arranges several
panels returns the Figure, already closed for pyplot, so that a notebook shows it once, as the last expression of its
cell. `panels` draws what goes in and `results` what comes out; what happens between the two, the attention, is here.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator

from avlib import InputError
from avlib.data.media import WINDOW
from avlib.lab.panels import (
    AROUND,
    AUDIO,
    BOTH,
    HALO,
    INK,
    INTENSITY,
    SHADE,
    VIDEO,
    WIDTH,
    faces,
    mfcc,
    new_figure,
    save,
    spectrogram,
    tidy_axes,
    time_span,
    waveform,
)
from avlib.lab.results import LiveHistory, conditions, confusion, history, per_emotion

__all__ = [
    "AUDIO",
    "BOTH",
    "VIDEO",
    "LiveHistory",
    "attention_by_emotion",
    "attention_map",
    "attention_maps",
    "attention_over_clip",
    "conditions",
    "confusion",
    "dropout_views",
    "faces",
    "history",
    "mfcc",
    "per_emotion",
    "save",
    "spectrogram",
    "waveform",
]


def dropout_views(audio: np.ndarray, video: np.ndarray, names: list[str]) -> Figure:
    """What modality dropout makes of one clip: a row per view, its MFCCs, then up to 8 of its frames.

    audio : (views, 10, Ta)        video : (views, Tv, 3, H, W) in [0, 1]        names : one per view
    """
    audio, video = np.asarray(audio), np.asarray(video)
    if not len(audio) == len(video) == len(names):
        raise InputError(
            f"{len(audio)} audio views, {len(video)} video views, {len(names)} names: give as many of each."
        )
    shown = np.linspace(0, video.shape[1] - 1, min(video.shape[1], 8)).round().astype(int)
    pictures = (np.moveaxis(video[:, shown], 2, -1).clip(0, 1) * 255).round().astype(np.uint8)  # (views, <=8, H, W, 3)
    figure = new_figure(height=len(names) * (0.6 * WIDTH / len(shown) + 0.1) + 0.7)
    grid = figure.subplots(len(names), 2, width_ratios=[1, 2.6], squeeze=False)
    bottom, top = 0.45 / figure.get_figheight(), 1 - 0.25 / figure.get_figheight()
    figure.subplots_adjust(left=0.14, right=0.995, top=top, bottom=bottom, wspace=0.03, hspace=0.1)
    for (left, right), sound, frames, name in zip(grid, audio, pictures, names, strict=True):
        mfcc(sound, ax=left).set(xlabel="", ylabel="", yticks=[])
        left.spines[:].set(visible=True, color=SHADE)
        left.tick_params(labelbottom=left is grid[-1, 0], bottom=left is grid[-1, 0])
        left.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
        faces(frames, ax=right).set_anchor("N")
    grid[-1, 0].set_xlabel("time (s)")
    grid[0, 0].set_title("audio: MFCC", color=AUDIO, fontsize=10, fontweight="bold")
    grid[0, 1].set_title("video: frames", color=VIDEO, fontsize=10, fontweight="bold")
    return figure


def attention_over_clip(
    audio_vector: np.ndarray,
    video_vector: np.ndarray,
    audio_times: np.ndarray,
    video_times: np.ndarray,
    strip: np.ndarray,
    log_mel: np.ndarray,
    cues: dict[str, tuple[float, float]] | None = None,
    title: str | None = None,
) -> Figure:
    """The two attention vectors of one clip over what they look at: faces and spectrogram, one axis in seconds.

    A vector totals its number of queries (Ta for video, Tv for audio; section III-B of the paper), so it is divided by
    its mean, for display only: 1 is what even attention gives.

    audio_vector : (Ta,)        video_vector : (Tv,)        *_times : step centres in seconds of the window
    strip : (Tv, S, S, 3) uint8 RGB        log_mel : (bands, steps) decibels
    cues : {"face": (start, end), "voice": (start, end)}, true spans in seconds; either may lack or be NaN
    """
    audio_vector, audio_times = _matched(audio_vector, audio_times, "the audio attention vector")
    video_vector, video_times = _matched(video_vector, video_times, "the video attention vector")
    left, right = 0.6, WIDTH - 0.1  # inches
    square = (right - left) * time_span(video_times)[2] / WINDOW  # the height that keeps faces as wide as high
    heights = {"seen": 1.15, "faces": 0.96 * square, "heard": 1.15, "sound": 1.15}
    figure, panels = _stacked(heights, gaps=[0.26, 0.1, 0.42, 0.1], bottom=0.45, left=left, right=right)
    _received(panels["seen"], video_vector, video_times, "video", "each frame, over all audio steps")
    _received(panels["heard"], audio_vector, audio_times, "audio", "each audio step, over all frames")
    faces(strip, video_times, ax=panels["faces"]).set(xlabel="", aspect="auto")
    spectrogram(log_mel, ax=panels["sound"])
    for kind, panel in (("face", "seen"), ("voice", "heard")):
        _mark_cue(panels[panel], (cues or {}).get(kind))
    for name, ax in panels.items():
        ax.set_xlim(0, WINDOW)
        ax.tick_params(labelbottom=name == "sound", bottom=name == "sound")
    if title:
        figure.suptitle(title, x=left / WIDTH, y=1 + 0.06 / figure.get_figheight(), ha="left", va="bottom", fontsize=11)
    return figure


def _stacked(
    heights: dict[str, float], gaps: list[float], bottom: float, left: float, right: float
) -> tuple[Figure, dict[str, Axes]]:
    """A figure of panels under one another, sharing their time axis; every length in inches, gaps[i] above panel i."""
    total = sum(heights.values()) + sum(gaps) + bottom
    figure, panels, top = new_figure(total), {}, total
    for (name, height), gap in zip(heights.items(), gaps, strict=True):
        top -= gap + height
        box = (left / WIDTH, top / total, (right - left) / WIDTH, height / total)
        panels[name] = figure.add_axes(box, sharex=next(iter(panels.values()), None))
    return figure, panels


def _received(ax: Axes, vector: np.ndarray, times: np.ndarray, modality: str, by: str) -> None:
    """Attention received, 1 = even: bars for the few video frames, a filled line for the many audio steps."""
    relative, colour = vector / vector.mean(), VIDEO if modality == "video" else AUDIO
    tidy_axes(ax)
    if modality == "video":
        ax.bar(times, relative, width=0.96 * time_span(times)[2], color=colour)
    else:
        ax.plot(times, relative, color=colour, linewidth=1.6)
        ax.fill_between(times, relative, color=colour, alpha=0.25, linewidth=0)
    ax.axhline(1, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.set_ylim(0, 1.18 * max(relative.max(), 1.2))
    ax.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    title = f"{modality}: attention received by {by} (1 = even)"
    ax.set_title(title, loc="left", fontsize=10, color=colour, fontweight="bold")


def _mark_cue(ax: Axes, span: tuple[float, float] | None) -> None:
    """The true seconds of a cue: shaded behind the attention vector, and a bar between it and the picture below."""
    if span is None or not np.all(np.isfinite(span)):
        return
    ax.axvspan(*span, color=SHADE, zorder=0, linewidth=0)
    across = ax.get_xaxis_transform()  # x in seconds, y from 0 to 1 over the panel
    ax.plot(span, [-0.045, -0.045], color=INK, linewidth=4, solid_capstyle="butt", transform=across, clip_on=False)
    ax.text(
        np.mean(span),
        0.985,
        "cue (truth)",
        fontsize=9,
        color=INK,
        ha="center",
        va="top",
        transform=across,
        path_effects=HALO,
    )


def attention_map(
    weights: np.ndarray,
    query_times: np.ndarray,
    key_times: np.ndarray,
    query_name: str,
    key_name: str,
    ax: Axes | None = None,
    vmax: float | None = None,
) -> Axes:
    """One attention map over seconds: each row is a query, the colour how much it looks at a key (1 = even).

    weights : (Tq, Tk), rows sum to 1; shown times Tk. The colour is that of the modality looked at.
    vmax : the upper end of the colour scale, to share it with other maps
    """
    if weights.shape != (len(query_times), len(key_times)):
        raise InputError(
            f"the map is {weights.shape}, its times {len(query_times)} and {len(key_times)}: they must agree."
        )
    ax = tidy_axes(ax, 5, 4)
    relative = weights * weights.shape[1]
    extent = (*time_span(np.asarray(key_times))[:2], *time_span(np.asarray(query_times))[:2])
    colours = INTENSITY.get(key_name, "mako_r")
    vmax = relative.max() if vmax is None else vmax
    ax.imshow(
        relative, extent=extent, origin="lower", aspect="auto", cmap=colours, vmin=0, vmax=vmax, interpolation="none"
    )
    ax.set(xlim=(0, WINDOW), ylim=(0, WINDOW), xlabel=f"key: {key_name} (s)", ylabel=f"query: {query_name} (s)")
    ax.xaxis.set_major_locator(MultipleLocator(1))
    ax.yaxis.set_major_locator(MultipleLocator(1))
    return ax


def attention_maps(attention: dict[str, np.ndarray], times: dict[str, np.ndarray], title: str | None = None) -> Figure:
    """The attention maps of one clip: a row per direction, a column per head, one colour scale and bar for each row.

    attention : {"video_to_audio": (H, Ta, Tv), "audio_to_video": (H, Tv, Ta)}, both or one; in `video_to_audio` audio
        is the query and video is what it looks at. Rows sum to 1 and are shown times their length: 1 = even.
    times : {"audio": (Ta,), "video": (Tv,)} step centres in seconds
    """
    heads = max(len(maps) for maps in attention.values())
    figure = new_figure(height=2.7 * len(attention) + 0.2)
    figure.set_layout_engine("constrained")
    grid = figure.subplots(len(attention), heads, squeeze=False)
    for row, (direction, maps) in zip(grid, attention.items(), strict=True):
        key, query = direction.split("_to_")
        top = maps.max() * maps.shape[-1]
        for head, (ax, weights) in enumerate(zip(row, maps, strict=False)):
            attention_map(weights, times[query], times[key], query, key, ax=ax, vmax=top)
            if head > 0:
                ax.set(ylabel="", yticklabels=[])
            ax.set_title(f"head {head + 1}" if heads > 1 else f"{query} looks at {key}", fontsize=10)
        bar = figure.colorbar(row[0].images[0], ax=row, pad=0.01)
        bar.set_label("attention (1 = even)", fontsize=9)
        bar.ax.tick_params(labelsize=9)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def attention_by_emotion(
    audio_means: np.ndarray,
    video_means: np.ndarray,
    emotions: list[str],
    audio_times: np.ndarray,
    video_times: np.ndarray,
) -> Figure:
    """The mean attention vector of every emotion: video on the left, audio on the right, white where attention is even.

    audio_means : (E, Ta)        video_means : (E, Tv)        emotions : E names        *_times : seconds
    Each row is divided by its mean; the colour scale is one per modality, symmetric about 1.
    """
    figure = new_figure(height=0.3 * len(emotions) + 1.5)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for ax, name, means, times in zip(
        panels, ("video", "audio"), (video_means, audio_means), (video_times, audio_times), strict=True
    ):
        relative = np.asarray(means) / np.asarray(means).mean(axis=1, keepdims=True)
        reach = np.abs(relative - 1).max()
        left, right, _ = time_span(np.asarray(times))
        extent = (left, right, len(emotions) - 0.5, -0.5)
        colours = {"cmap": AROUND[name], "vmin": 1 - reach, "vmax": 1 + reach}
        image = ax.imshow(relative, extent=extent, aspect="auto", interpolation="none", **colours)
        ax.set(xlim=(0, WINDOW), xlabel="time (s)", yticks=range(len(emotions)), yticklabels=emotions)
        ax.tick_params(labelsize=9, left=False)
        ax.set_title(name, fontsize=10, fontweight="bold", color=VIDEO if name == "video" else AUDIO)
        bar = figure.colorbar(image, ax=ax, orientation="horizontal", pad=0.02)
        bar.ax.set_xlim(max(0, 1 - reach), 1 + reach)  # attention is never below 0
        bar.set_label("mean attention received (1 = even)", fontsize=9)
        bar.ax.tick_params(labelsize=9)
    return figure


def _matched(vector: np.ndarray, times: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    vector, times = np.asarray(vector, dtype=float), np.asarray(times, dtype=float)
    if vector.shape != times.shape or vector.ndim != 1:
        raise InputError(f"{name} has shape {vector.shape} and its times {times.shape}: both must be (steps,).")
    return vector, times
