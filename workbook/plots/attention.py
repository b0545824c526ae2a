"""Attention between the two branches, and what speaks for an answer, over the clip that a network looks at."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from workbook.attention.truth import CUE
from workbook.attention.vectors import map_name
from workbook.data.window import HOP, SAMPLE_RATE
from workbook.plots.clock import SECONDS, Clock, even_times, time_span
from workbook.plots.inputs import faces, features, spectrogram
from workbook.plots.marks import bold_title, colour_bar, grid, legend_above, name_rows, new_figure, steps, tidy_axes
from workbook.plots.style import AROUND, AUDIO, COLOUR, HALO, INK, QUIET, SHADE, VIDEO, WIDTH, text_colour
from workbook.text import in_figure

FACE = 1.6  # inches of a face, at most
Arrays = dict[str, np.ndarray]  # by modality, or by direction
Attribution = dict[str, dict[str, np.ndarray | None]]  # method -> modality -> a score for each input step


def attention_over_clip(
    vectors: Arrays,
    times: Arrays,
    video: np.ndarray,
    audio: np.ndarray,
    cues: dict[str, tuple[float, float]] | None = None,
    title: str | None = None,
    clock: Clock = SECONDS,
    attribution: Attribution | None = None,
    figure: Figure | SubFigure | None = None,
    face: float = FACE,
) -> Figure | SubFigure:
    """The attention vectors of one clip above its picture and its sound, on one time axis.

    vectors : {"video": (Tv,), "audio": (Ta,)} in multiples of even attention; one or both: a fusion in one direction
        looks at one modality alone
    times : step centres on the clock, for each vector
    video : faces (F, S, S, 3) uint8 RGB, or features (Cv, T); either shares the clip evenly among its steps
    audio : a log-mel spectrogram (bands, steps) in decibels, or, where the clock has no seconds, features (Ca, T)
    cues : {"face": (start, end), "voice": (start, end)}, true spans on the clock; either may lack or be NaN
    attribution : {"integrated gradients": {"video": (Tv,), "audio": (Ta,)}, ...}, scores of the input steps, a panel
        for each under the attention; a modality may lack or be None
    figure : an empty one, in which the panels stand in the order of `panel_heights`; None = a new one
    face : inches of a face, at most
    """
    heights = panel_heights(vectors, video, attribution, face)
    figure = figure or new_figure(sum(heights.values()) + 0.22 * len(heights) + 0.4)
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=[*heights.values()])
    for ax, (modality, kind) in zip(panels, heights, strict=True):
        if kind == "attention":
            _received(vectors[modality], times[modality], modality, ax, clock, has_frames=video.ndim == 4)
        elif kind != "input":
            scores(attribution[kind][modality], modality, kind, ax, clock)
        elif modality == "video" and video.ndim == 4:
            filled = 0.96 * min(1, face * len(video) / WIDTH)
            faces(video, even_times(len(video), clock), ax, clock, filled).set(aspect="auto")
            ax.set_box_aspect(filled / len(video))  # faces are square
        elif modality == "audio" and clock == SECONDS:
            spectrogram(audio, ax)
        else:
            features(video if modality == "video" else audio, modality, ax, clock)
        last = ax is panels[-1]
        ax.set(xlim=(0, clock.length), xlabel=clock.label if last else "")
        ax.tick_params(labelbottom=last, bottom=last)
    for modality in COLOUR:
        *attended, picture = (ax for ax, (name, _) in zip(panels, heights, strict=True) if name == modality)
        if attended:
            _mark_cue(attended, (cues or {}).get(CUE[modality]))
        else:
            bold_title(picture, modality, COLOUR[modality])
    if title:
        figure.suptitle(in_figure(title), fontsize=11, x=0.01, ha="left")
    return figure


def panel_heights(
    vectors: Arrays, video: np.ndarray, attribution: Attribution | None, face: float
) -> dict[tuple[str, str], float]:
    """The panels over a clip from top to bottom, (modality, attention | a method of attribution | input), in inches.

    Faces are as high as their share of the width, up to `face`. Arguments as in `attention_over_clip`
    """
    heights, over = {}, {"attention": vectors} | (attribution or {})
    for modality in COLOUR:
        kinds = [kind for kind, values in over.items() if values.get(modality) is not None]
        heights |= {(modality, kind): 1.15 if kind == "attention" else 0.75 for kind in kinds}
        has_faces = modality == "video" and video.ndim == 4
        heights[modality, "input"] = min(face, WIDTH / len(video)) if has_faces else 1.15
    return heights


def _received(vector: np.ndarray, times: np.ndarray, modality: str, ax: Axes, clock: Clock, has_frames: bool) -> None:
    """Draws attention (T,) in multiples of even, from 1 up or down, over its step centres."""
    tidy_axes(ax)
    steps(ax, times, vector, COLOUR[modality], time_span(times, clock)[2], base=1)
    ax.set_ylim(*attention_limits(vector))
    frame = "frame" if has_frames else "video step"
    by = {"video": f"each {frame}, over all audio steps", "audio": f"each audio step, over all {frame}s"}[modality]
    bold_title(ax, f"{modality}: attention received by {by} (1 = even)", COLOUR[modality])


def attention_limits(*vectors: np.ndarray) -> tuple[float, float]:
    """The scale of attention in multiples of even: up to 2 at least, so that nearly even attention looks even."""
    return 0, max(2, 1.2 * max(vector.max() for vector in vectors))  # room for a label above


def _mark_cue(panels: list[Axes], span: tuple[float, float] | None) -> None:
    """Shades the true span of a cue in all panels, and marks it with a bar and a label in the first."""
    if span is None or not np.all(np.isfinite(span)):
        return
    for ax in panels:
        ax.axvspan(*span, color=SHADE, zorder=0, linewidth=0)
    across = panels[0].get_xaxis_transform()  # x on the clock, y from 0 to 1 over the panel
    bar = {"color": INK, "linewidth": 4, "solid_capstyle": "butt", "clip_on": False}
    panels[0].plot(span, [-0.045, -0.045], transform=across, **bar)
    label = {"fontsize": 9, "color": INK, "ha": "center", "va": "top", "path_effects": HALO}
    panels[0].text(np.mean(span), 0.985, "cue (truth)", transform=across, **label)


def attention_map(
    weights: np.ndarray,
    times: Arrays,
    direction: str,
    ax: Axes | None = None,
    reach: float | None = None,
    clock: Clock = SECONDS,
) -> Axes:
    """One attention map over time: each row is a query, the colour how much it looks at a key (white = even = 1).

    weights : (Tq, Tk), rows sum to 1; shown as multiples of an even share of the keys that the query sees. More than
        even has the colour of the modality looked at. Keys of weight 0 are hidden from the query, as in MULT: grey.
    times : step centres on the clock, by modality      direction : such as video_to_audio, where audio is the query
    reach : how far from 1 the colour scale goes, to share it with other maps; None = as far as the weights
    """
    key, query = direction.split("_to_")
    ax, reach = tidy_axes(ax, 5, 4), reach or map_reach(weights)
    look = {"origin": "lower", "aspect": "auto", "interpolation": "none"}
    look |= {"cmap": AROUND[key], "vmin": 1 - reach, "vmax": 1 + reach}
    extent = (*time_span(times[key], clock)[:2], *time_span(times[query], clock)[:2])
    ax.set_facecolor(SHADE)
    ax.imshow(multiples_of_even(weights), extent=extent, **look)
    ax.set(xlim=(0, clock.length), ylim=(0, clock.length))
    ax.set(xlabel=f"key: {key} ({clock.unit})", ylabel=f"query: {query} ({clock.unit})")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    return ax


def multiples_of_even(weights: np.ndarray) -> np.ndarray:
    """The weights (…, Tk) in multiples of an even share of the keys that are not hidden; NaN for those of weight 0."""
    visible = weights > 0
    return np.where(visible, weights * visible.sum(axis=-1, keepdims=True), np.nan)


def map_reach(weights: np.ndarray) -> float:
    """How far from 1 the colour scale of maps goes; at least 1, so that nearly even attention stays nearly white."""
    return max(np.nanmax(multiples_of_even(weights)) - 1, 1)


def attention_maps(attention: Arrays, times: Arrays, title: str | None = None, clock: Clock = SECONDS) -> Figure:
    """The attention maps of one clip: a row per direction, a column per head, one colour scale and bar for each row.

    attention : {"video_to_audio": (H, Ta, Tv), "audio_to_video": (H, Tv, Ta)}, one or more, self-attention such as
        "audio_to_audio": (H, Ta, Ta) too; in `video_to_audio` audio is the query and video is what it looks at. Rows
        sum to 1 and are shown as in `attention_map`: 1 = even.
    times : {"audio": (Ta,), "video": (Tv,)} step centres on the clock
    """
    heads = max(map(len, attention.values()))
    figure, panels = grid(len(attention), heads, (2.7 if heads < 4 else 2.1) * len(attention) + 0.2)
    for row, (direction, maps) in zip(panels, attention.items(), strict=True):
        reach = map_reach(maps)
        for head, (ax, weights) in enumerate(zip(row, maps, strict=False)):
            attention_map(weights, times, direction, ax, reach, clock)
            if head > 0:
                ax.set(ylabel="", yticklabels=[])
            ax.xaxis.label.set_size(9)
            ax.set_title(f"head {head + 1}" if heads > 1 else map_name(direction), fontsize=10)
        colour_bar(row, "attention (1 = even)", pad=0.01).ax.set_ylim(0, 1 + reach)  # attention is never below 0
    if title:
        figure.suptitle(in_figure(title), fontsize=11)
    return figure


def attention_by_emotion(means: dict[str, pd.DataFrame], times: Arrays, clock: Clock = SECONDS) -> Figure:
    """The mean attention vector of every emotion, a panel per modality, white where attention is even.

    means : {"video": (E, Tv), "audio": (E, Ta)}, one or both, in multiples of even attention, a row per emotion
    times : step centres on the clock, for each of the means
    """
    modalities = [modality for modality in COLOUR if modality in means]
    emotions = list(means[modalities[0]].index)
    figure = new_figure(height=0.3 * len(emotions) + 1.5)
    panels = figure.subplots(1, len(modalities), sharey=True, squeeze=False)[0]
    for ax, modality in zip(panels, modalities, strict=True):
        reach = max(means[modality].to_numpy().max() - 1, 1)  # as in `map_reach`
        extent = (*time_span(times[modality], clock)[:2], len(emotions) - 0.5, -0.5)
        colours = {"cmap": AROUND[modality], "vmin": 1 - reach, "vmax": 1 + reach}
        ax.imshow(means[modality], extent=extent, aspect="auto", interpolation="none", **colours)
        ax.set(xlim=(0, clock.length), xlabel=clock.label)
        ax.set_yticks(range(len(emotions)), map(in_figure, emotions))
        ax.tick_params(labelsize=9, left=False)
        bold_title(ax, modality, COLOUR[modality], loc="center")
        bar = colour_bar(ax, "mean attention received (1 = even)", orientation="horizontal", pad=0.02)
        bar.ax.set_xlim(0, 1 + reach)
    return figure


def scores(values: np.ndarray, modality: str, method: str, ax: Axes | None = None, clock: Clock = SECONDS) -> Axes:
    """How much each input step speaks for an answer (up) or against it (down).

    values : (T,), a score per MFCC step or frame        modality : audio | video      method : for the title
    """
    ax = tidy_axes(ax, WIDTH, 1.4)
    has_hops = modality == "audio" and clock == SECONDS
    times = np.arange(len(values)) * HOP / SAMPLE_RATE if has_hops else even_times(len(values), clock)
    steps(ax, times, values, COLOUR[modality], time_span(times, clock)[2])
    ax.set(xlim=(0, clock.length), xlabel=clock.label)
    title = f"{modality}: {method}, for (+) or against (−) the answer"
    ax.set_title(title, loc="left", fontsize=9, color=text_colour(COLOUR[modality]))
    return ax


def grad_cam(strip: np.ndarray, heat: np.ndarray, ax: Axes | None = None, clock: Clock = SECONDS) -> Axes:
    """A row of faces, bright where the frame network's maps speak for the answer and dark elsewhere.

    EfficientFace's maps have S / 32 cells a side: 7 for faces of 224 pixels, 2 for faces of 64.

    strip : (Tv, S, S, 3) uint8 RGB        heat : (Tv, S, S) in [0, 1]
    """
    lit = (strip * (0.25 + 0.75 * heat[..., None])).round().astype(np.uint8)
    return faces(lit, even_times(len(strip), clock), ax, clock)


def branches(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """How much sound and picture raise the output of the answer, mean over the clips of each emotion.

    table : a row per clip, columns emotion, audio, video and together, as `attention.attribution.answer_branches`
    """
    means = table.groupby("emotion", sort=False)[["audio", "video", "together"]].mean()
    ax = tidy_axes(ax, WIDTH, 0.42 * len(means) + 1.2)
    shares = means[["audio", "video"]].rename(columns="{}'s share".format)
    shares.plot.barh(ax=ax, color=[AUDIO, VIDEO], width=0.76, legend=False)
    ax.plot(means["together"], range(len(means)), "D", color=INK, markersize=5, label="only together")
    ax.axvline(0, color=QUIET, linewidth=0.8)
    name_rows(ax, means.index)
    ax.set(xlabel="raises the output of the answer by", ylabel="")
    legend_above(ax)
    return ax
