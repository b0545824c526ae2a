"""Attention between the two branches: vectors and maps, over the clip that they look at."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from workbook import InputError
from workbook.attention.truth import CUE
from workbook.plots.attribution import scores
from workbook.plots.clock import SECONDS, Clock, even_times, time_span
from workbook.plots.inputs import faces, features, spectrogram
from workbook.plots.marks import bold_title, colour_bar
from workbook.plots.style import AROUND, COLOUR, HALO, INK, SHADE, WIDTH, grid, new_figure, tidy_axes
from workbook.text import in_figure

LEFT, RIGHT, BOTTOM = 0.6, WIDTH - 0.1, 0.45  # inches, of the panels of `attention_over_clip`
Attribution = dict[str, dict[str, np.ndarray | None]]  # method -> modality -> a score for each input step
Panels = dict[tuple[str, str], Axes]  # (modality, "attention" | a method of attribution | "input")


def attention_over_clip(
    vectors: dict[str, np.ndarray],
    times: dict[str, np.ndarray],
    video: np.ndarray,
    audio: np.ndarray,
    cues: dict[str, tuple[float, float]] | None = None,
    title: str | None = None,
    clock: Clock = SECONDS,
    attribution: Attribution | None = None,
) -> Figure:
    """The attention vectors of one clip above its picture and its sound, on one time axis.

    vectors : {"video": (Tv,), "audio": (Ta,)} in multiples of even attention; one or both: a fusion in one direction
        looks at one modality alone
    times : step centres on the clock, for each vector
    video : faces (F, S, S, 3) uint8 RGB, or features (Cv, T); either shares the clip evenly among its steps
    audio : a log-mel spectrogram (bands, steps) in decibels, or, where the clock has no seconds, features (Ca, T)
    cues : {"face": (start, end), "voice": (start, end)}, true spans on the clock; either may lack or be NaN
    attribution : {"integrated gradients": {"video": (Tv,), "audio": (Ta,)}, ...}, scores of the input steps, a panel
        for each under the attention; a modality may lack or be None
    """
    share = (RIGHT - LEFT) / len(video) if video.ndim == 4 else np.inf  # inches that a frame has
    filled = min(0.96, 1.6 / share)
    heights = {"attention": 1.15, "video": filled * share if video.ndim == 4 else 1.15, "audio": 1.15}
    figure, panels = _stacked(panels_of(vectors, attribution), heights)
    draw_clip(panels, vectors, times, video, audio, cues, clock, attribution, filled)
    if title:
        figure.suptitle(title, x=LEFT / WIDTH, y=1 + 0.06 / figure.get_figheight(), ha="left", va="bottom", fontsize=11)
    return figure


def panels_of(vectors: dict[str, np.ndarray], attribution: Attribution | None) -> list[tuple[str, str]]:
    """The panels over a clip from top to bottom: of each modality the attention, its attributions and the input."""
    methods = attribution or {}
    return [
        (modality, kind)
        for modality in COLOUR
        for kind in ("attention", *methods, "input")
        if kind == "input" or (vectors if kind == "attention" else methods[kind]).get(modality) is not None
    ]


def _stacked(names: list[tuple[str, str]], heights: dict[str, float]) -> tuple[Figure, Panels]:
    """A figure of panels under one another, which share their time axis; heights in inches."""
    rows, above = {}, None
    for name in names:
        first = above is None or above[0] != name[0]  # of its modality
        is_scores = name[1] not in ("attention", "input")
        gap = 0.26 if above is None else 0.3 if is_scores else 0.42 if first else 0.1
        rows[name] = (gap, 0.75 if is_scores else heights.get(name[1]) or heights[name[0]])
        above = name
    total = sum(gap + height for gap, height in rows.values()) + BOTTOM
    figure, panels, top = new_figure(total, layout=None), {}, total
    for name, (gap, height) in rows.items():
        top -= gap + height
        box = (LEFT / WIDTH, top / total, (RIGHT - LEFT) / WIDTH, height / total)
        panels[name] = figure.add_axes(box, sharex=next(iter(panels.values()), None))
    return figure, panels


def draw_clip(
    panels: Panels,
    vectors: dict[str, np.ndarray],
    times: dict[str, np.ndarray],
    video: np.ndarray,
    audio: np.ndarray,
    cues: dict[str, tuple[float, float]] | None,
    clock: Clock,
    attribution: Attribution | None,
    filled: float,
) -> None:
    """Draws a clip into the panels of `panels_of`; arguments as in `attention_over_clip`, `filled` as in `faces`."""
    for (modality, kind), ax in panels.items():
        if kind == "attention":
            frame = "frame" if video.ndim == 4 else "video step"
            received(vectors[modality], times[modality], modality, ax, clock, frame)
        elif kind != "input":
            scores(attribution[kind][modality], modality, kind, ax, clock)
        elif modality == "video" and video.ndim == 4:
            faces(video, even_times(len(video), clock), ax, clock, filled).set(aspect="auto")
        elif modality == "audio" and clock == SECONDS:
            spectrogram(audio, ax=ax)
        else:
            features(video if modality == "video" else audio, modality, ax, clock)
        last = ax is list(panels.values())[-1]
        ax.set(xlim=(0, clock.length), xlabel=clock.label if last else "")
        ax.tick_params(labelbottom=last, bottom=last)
    for modality in COLOUR:
        *attended, picture = (ax for (name, _), ax in panels.items() if name == modality)
        if attended:
            _mark_cue(attended, (cues or {}).get(CUE[modality]))
        else:
            bold_title(picture, modality, COLOUR[modality])


def received(
    vector: np.ndarray,
    times: np.ndarray,
    modality: str,
    ax: Axes | None = None,
    clock: Clock = SECONDS,
    frame: str = "frame",
) -> Axes:
    """Attention received, drawn from 1 = even up or down: bars for few steps such as frames, a line for many.

    vector : (T,) in multiples of even attention      times : (T,) step centres      frame : the name of a video step
    """
    vector, times = np.asarray(vector, dtype=float), np.asarray(times, dtype=float)
    if vector.shape != times.shape or vector.ndim != 1:
        raise InputError(
            f"the {modality} attention vector has shape {vector.shape} and its times {times.shape}: "
            "both must be (steps,)."
        )
    ax, colour = tidy_axes(ax, WIDTH, 1.4), COLOUR[modality]
    if len(vector) <= 30:
        ax.bar(times, vector - 1, width=0.96 * time_span(times, clock)[2], bottom=1, color=colour)
    else:
        ax.plot(times, vector, color=colour, linewidth=1.6)
        ax.fill_between(times, 1, vector, color=colour, alpha=0.25, linewidth=0)
    ax.axhline(1, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.set_ylim(0, max(2, 1.2 * vector.max()))  # attention that is nearly even looks so; room for a label above
    ax.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    by = {"video": f"each {frame}, over all audio steps", "audio": f"each audio step, over all {frame}s"}[modality]
    bold_title(ax, f"{modality}: attention received by {by} (1 = even)", colour)
    return ax


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
    query_times: np.ndarray,
    key_times: np.ndarray,
    query_name: str,
    key_name: str,
    ax: Axes | None = None,
    reach: float | None = None,
    clock: Clock = SECONDS,
) -> Axes:
    """One attention map over time: each row is a query, the colour how much it looks at a key (white = even = 1).

    weights : (Tq, Tk), rows sum to 1; shown as multiples of an even share of the keys that the query sees. More than
        even has the colour of the modality looked at. Keys of weight 0 are hidden from the query, as in MULT: grey.
    reach : how far from 1 the colour scale goes, to share it with other maps; None = as far as the weights
    """
    if weights.shape != (len(query_times), len(key_times)):
        raise InputError(
            f"the map is {weights.shape}, its times {len(query_times)} and {len(key_times)}: they must agree."
        )
    ax = tidy_axes(ax, 5, 4)
    across, along = (time_span(np.asarray(times), clock)[:2] for times in (key_times, query_times))
    reach = reach or map_reach(weights)
    colours = {"cmap": AROUND[key_name], "vmin": 1 - reach, "vmax": 1 + reach}
    look = {"origin": "lower", "aspect": "auto", "interpolation": "none"}
    ax.set_facecolor(SHADE)
    ax.imshow(multiples_of_even(weights), extent=(*across, *along), **look, **colours)
    ax.set(xlim=(0, clock.length), ylim=(0, clock.length))
    ax.set(xlabel=f"key: {key_name} ({clock.unit})", ylabel=f"query: {query_name} ({clock.unit})")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    return ax


def multiples_of_even(weights: np.ndarray) -> np.ndarray:
    """The weights (…, Tk) in multiples of an even share of the keys that are not hidden; NaN for those of weight 0."""
    visible = weights > 0
    return np.where(visible, weights * visible.sum(axis=-1, keepdims=True), np.nan)


def map_reach(weights: np.ndarray) -> float:
    """How far from 1 the colour scale of a map goes; at least 1, so that nearly even attention stays nearly white."""
    return max(np.nanmax(multiples_of_even(weights)) - 1, 1)


def attention_maps(
    attention: dict[str, np.ndarray],
    times: dict[str, np.ndarray],
    title: str | None = None,
    clock: Clock = SECONDS,
) -> Figure:
    """The attention maps of one clip: a row per direction, a column per head, one colour scale and bar for each row.

    attention : {"video_to_audio": (H, Ta, Tv), "audio_to_video": (H, Tv, Ta)}, one or more, self-attention such as
        "audio_to_audio": (H, Ta, Ta) too; in `video_to_audio` audio is the query and video is what it looks at. Rows
        sum to 1 and are shown as in `attention_map`: 1 = even.
    times : {"audio": (Ta,), "video": (Tv,)} step centres on the clock
    """
    heads = max(len(maps) for maps in attention.values())
    figure, panels = grid(len(attention), heads, (2.7 if heads < 4 else 2.1) * len(attention) + 0.2)
    for row, (direction, maps) in zip(panels, attention.items(), strict=True):
        key, query = direction.split("_to_")
        reach = map_reach(maps)
        for head, (ax, weights) in enumerate(zip(row, maps, strict=False)):
            attention_map(weights, times[query], times[key], query, key, ax, reach, clock)
            if head > 0:
                ax.set(ylabel="", yticklabels=[])
            ax.xaxis.label.set_size(9)
            ax.set_title(f"head {head + 1}" if heads > 1 else f"{query} looks at {key}", fontsize=10)
        colour_bar(row, "attention (1 = even)", pad=0.01).ax.set_ylim(0, 1 + reach)  # attention is never below 0
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def attention_by_emotion(
    means: dict[str, pd.DataFrame], times: dict[str, np.ndarray], clock: Clock = SECONDS
) -> Figure:
    """The mean attention vector of every emotion, a panel per modality, white where attention is even.

    means : {"video": (E, Tv), "audio": (E, Ta)}, one or both, in multiples of even attention, a row per emotion
    times : step centres on the clock, for each of the means
    The colour scale is one per modality, symmetric about 1.
    """
    modalities = [modality for modality in COLOUR if modality in means]
    emotions = [*means[modalities[0]].index]
    figure = new_figure(height=0.3 * len(emotions) + 1.5)
    panels = figure.subplots(1, len(modalities), sharey=True, squeeze=False)[0]
    for ax, modality in zip(panels, modalities, strict=True):
        relative = np.asarray(means[modality])
        reach = max(relative.max() - 1, 1)  # as in `map_reach`
        left, right, _ = time_span(np.asarray(times[modality]), clock)
        extent = (left, right, len(emotions) - 0.5, -0.5)
        colours = {"cmap": AROUND[modality], "vmin": 1 - reach, "vmax": 1 + reach}
        ax.imshow(relative, extent=extent, aspect="auto", interpolation="none", **colours)
        ax.set(xlim=(0, clock.length), xlabel=clock.label)
        ax.set_yticks(range(len(emotions)), map(in_figure, emotions))
        ax.tick_params(labelsize=9, left=False)
        bold_title(ax, modality, COLOUR[modality], loc="center")
        bar = colour_bar(ax, "mean attention received (1 = even)", orientation="horizontal", pad=0.02)
        bar.ax.set_xlim(max(0, 1 - reach), 1 + reach)  # attention is never below 0
    return figure
