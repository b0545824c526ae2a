"""What happens between the two branches: attention vectors and maps, over the clip that they look at."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from workbook import InputError
from workbook.attention.truth import CUE
from workbook.plots.attribution import scores
from workbook.plots.panels import (
    AROUND,
    COLOUR,
    HALO,
    INK,
    SECONDS,
    SHADE,
    WIDTH,
    Clock,
    even_times,
    faces,
    features,
    new_figure,
    spectrogram,
    tidy_axes,
    time_span,
)


def attention_over_clip(
    vectors: dict[str, np.ndarray],
    times: dict[str, np.ndarray],
    seen: np.ndarray,
    heard: np.ndarray,
    cues: dict[str, tuple[float, float]] | None = None,
    title: str | None = None,
    clock: Clock = SECONDS,
    attribution: dict[str, dict[str, np.ndarray]] | None = None,
) -> Figure:
    """The attention vectors of one clip over what they look at, picture and sound, on one time axis.

    vectors : {"video": (Tv,), "audio": (Ta,)} in multiples of even attention, as `attention.vectors.relative_vectors`;
        one or both: a fusion in one direction looks at one modality alone
    times : step centres on the clock, for each vector
    seen : faces (F, S, S, 3) uint8 RGB, or features (Cv, T); either shares the clip evenly among its steps
    heard : a log-mel spectrogram (bands, steps) in decibels, or, where the clock has no seconds, features (Ca, T)
    cues : {"face": (start, end), "voice": (start, end)}, true spans on the clock; either may lack or be NaN
    attribution : {"integrated gradients": {"video": (Tv,), "audio": (Ta,)}, ...}, scores of the input steps, a panel
        for each under the attention; a modality may lack or be None
    """
    left, right = 0.6, WIDTH - 0.1  # inches
    pictures = seen.ndim == 4
    share = (right - left) / len(seen) if pictures else np.inf  # inches that a frame has
    filled = min(0.96, 1.6 / share)
    heights = {"video": filled * share if pictures else 1.15, "audio": 1.15}
    scored = {
        (modality, method): values
        for method, found in (attribution or {}).items()
        for modality, values in found.items()
        if values is not None
    }
    figure, panels = _stacked(_rows(vectors, heights, scored), bottom=0.45, left=left, right=right)
    for modality in vectors:
        vector, place = _matched(vectors[modality], times[modality], modality)
        received_over_time(
            panels[modality, "attention"], vector, place, modality, "frame" if pictures else "video step", clock
        )
    for (modality, method), values in scored.items():
        scores(values, modality, method, panels[modality, method], clock)
    for modality in {modality: None for modality, kind in panels if kind != "input"}:
        first, *others = (ax for (name, kind), ax in panels.items() if name == modality and kind != "input")
        mark_cue(first, others, (cues or {}).get(CUE[modality]))
    draw_seen(panels["video", "input"], seen, clock, filled)
    draw_heard(panels["audio", "input"], heard, clock)
    for (modality, kind), ax in panels.items():
        last = (modality, kind) == ("audio", "input")
        ax.set(xlim=(0, clock.length), xlabel=clock.label if last else "")
        ax.tick_params(labelbottom=last, bottom=last)
        if kind == "input" and not any(name == modality and kind != "input" for name, kind in panels):
            _name(ax, modality)
    if title:
        figure.suptitle(title, x=left / WIDTH, y=1 + 0.06 / figure.get_figheight(), ha="left", va="bottom", fontsize=11)
    return figure


def draw_seen(ax: Axes, seen: np.ndarray, clock: Clock, filled: float) -> None:
    if seen.ndim == 4:
        faces(seen, even_times(len(seen), clock), ax, clock, filled).set(aspect="auto")
    else:
        features(seen, "video", ax, clock)


def draw_heard(ax: Axes, heard: np.ndarray, clock: Clock) -> None:
    if clock == SECONDS:
        spectrogram(heard, ax=ax)
    else:
        features(heard, "audio", ax, clock)


def _rows(vectors: dict, heights: dict[str, float], scored: dict) -> dict[tuple[str, str], tuple[float, float]]:
    """The panels from top to bottom, each with the gap above it and its height, in inches."""
    rows = {}
    for modality in COLOUR:
        room = 0.42 if rows else 0.26  # for a title
        if modality in vectors:
            rows[modality, "attention"] = (room, 1.15)
            room = 0.1
        for panel in (panel for panel in scored if panel[0] == modality):
            rows[panel] = (0.3 if rows else 0.26, 0.75)
            room = 0.1
        rows[modality, "input"] = (room, heights[modality])
    return rows


def _stacked(
    rows: dict[tuple[str, str], tuple[float, float]], bottom: float, left: float, right: float
) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A figure of panels under one another, sharing their time axis; rows as `_rows` has them, lengths in inches."""
    total = sum(gap + height for gap, height in rows.values()) + bottom
    figure, panels, top = new_figure(total), {}, total
    for name, (gap, height) in rows.items():
        top -= gap + height
        box = (left / WIDTH, top / total, (right - left) / WIDTH, height / total)
        panels[name] = figure.add_axes(box, sharex=next(iter(panels.values()), None))
    return figure, panels


def received_over_time(
    ax: Axes, relative: np.ndarray, times: np.ndarray, modality: str, frame: str, clock: Clock
) -> None:
    """Attention received, drawn from 1 = even up or down: bars for few steps such as frames, a line for many."""
    colour = COLOUR[modality]
    tidy_axes(ax)
    if len(relative) <= 30:
        ax.bar(times, relative - 1, width=0.96 * time_span(times, clock)[2], bottom=1, color=colour)
    else:
        ax.plot(times, relative, color=colour, linewidth=1.6)
        ax.fill_between(times, 1, relative, color=colour, alpha=0.25, linewidth=0)
    ax.axhline(1, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    up, down = max(relative.max() - 1, 0.2), max(1 - relative.min(), 0.2)  # attention that is nearly even looks so
    ax.set_ylim(max(0, 1 - 1.15 * down), 1 + 1.3 * up)  # with room for a label above
    ax.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    by = {"video": f"each {frame}, over all audio steps", "audio": f"each audio step, over all {frame}s"}[modality]
    _name(ax, modality, f": attention received by {by} (1 = even)")


def _name(ax: Axes, modality: str, more: str = "") -> None:
    ax.set_title(modality + more, loc="left", fontsize=10, color=COLOUR[modality], fontweight="bold")


def mark_cue(ax: Axes, others: list[Axes], span: tuple[float, float] | None) -> None:
    """The true span of a cue: shaded behind all panels, and a bar and a label where the first one ends and begins."""
    if span is None or not np.all(np.isfinite(span)):
        return
    for panel in (ax, *others):
        panel.axvspan(*span, color=SHADE, zorder=0, linewidth=0)
    across = ax.get_xaxis_transform()  # x on the clock, y from 0 to 1 over the panel
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
    reach: float | None = None,
    clock: Clock = SECONDS,
) -> Axes:
    """One attention map over time: each row is a query, the colour how much it looks at a key (white = even = 1).

    weights : (Tq, Tk), rows sum to 1; shown as multiples of an even share of the keys that the query sees. More than
        even has the colour of the modality looked at. Keys of weight 0 are hidden from the query, as in MULT: grey.
    reach : how far from 1 the colour scale goes, to share it with other maps; where None as far as the weights, at
        least 1
    """
    if weights.shape != (len(query_times), len(key_times)):
        raise InputError(
            f"the map is {weights.shape}, its times {len(query_times)} and {len(key_times)}: they must agree."
        )
    ax = tidy_axes(ax, 5, 4)
    relative = multiples_of_even(weights)
    across, along = (time_span(np.asarray(times), clock)[:2] for times in (key_times, query_times))
    reach = reach or _reach(weights)
    colours = {"cmap": AROUND[key_name], "vmin": 1 - reach, "vmax": 1 + reach}
    ax.set_facecolor(SHADE)
    ax.imshow(relative, extent=(*across, *along), origin="lower", aspect="auto", interpolation="none", **colours)
    ax.set(xlim=(0, clock.length), ylim=(0, clock.length))
    ax.set(xlabel=f"key: {key_name} ({clock.unit})", ylabel=f"query: {query_name} ({clock.unit})")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    return ax


def multiples_of_even(weights: np.ndarray) -> np.ndarray:
    """The weights (…, Tk) in multiples of an even share of the keys that are not hidden; NaN for those of weight 0."""
    seen = weights > 0
    return np.where(seen, weights * seen.sum(axis=-1, keepdims=True), np.nan)


def _reach(weights: np.ndarray) -> float:
    """How far from 1 a colour scale must go; at least 1, so that what is nearly even stays nearly white."""
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
    figure = new_figure(height=(2.7 if heads < 4 else 2.1) * len(attention) + 0.2)
    figure.set_layout_engine("constrained")
    grid = figure.subplots(len(attention), heads, squeeze=False)
    for row, (direction, maps) in zip(grid, attention.items(), strict=True):
        key, query = direction.split("_to_")
        reach = _reach(maps)
        for head, (ax, weights) in enumerate(zip(row, maps, strict=False)):
            attention_map(weights, times[query], times[key], query, key, ax, reach, clock)
            if head > 0:
                ax.set(ylabel="", yticklabels=[])
            ax.xaxis.label.set_size(9)
            ax.set_title(f"head {head + 1}" if heads > 1 else f"{query} looks at {key}", fontsize=10)
        bar = figure.colorbar(row[0].images[0], ax=row, pad=0.01)
        bar.ax.set_ylim(0, 1 + reach)  # attention is never below 0
        bar.set_label("attention (1 = even)", fontsize=9)
        bar.ax.tick_params(labelsize=9)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def attention_by_emotion(
    means: dict[str, np.ndarray], emotions: list[str], times: dict[str, np.ndarray], clock: Clock = SECONDS
) -> Figure:
    """The mean attention vector of every emotion, a panel per modality, white where attention is even.

    means : {"video": (E, Tv), "audio": (E, Ta)}, one or both, in multiples of even attention        emotions : E names
    times : step centres on the clock, for each of the means
    The colour scale is one per modality, symmetric about 1.
    """
    shown = [modality for modality in COLOUR if modality in means]
    figure = new_figure(height=0.3 * len(emotions) + 1.5)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for ax, modality in zip(panels, shown, strict=True):
        relative = np.asarray(means[modality])
        reach = max(np.abs(relative - 1).max(), 0.01)  # what is less is even
        left, right, _ = time_span(np.asarray(times[modality]), clock)
        extent = (left, right, len(emotions) - 0.5, -0.5)
        colours = {"cmap": AROUND[modality], "vmin": 1 - reach, "vmax": 1 + reach}
        image = ax.imshow(relative, extent=extent, aspect="auto", interpolation="none", **colours)
        ax.set(xlim=(0, clock.length), xlabel=clock.label, yticks=range(len(emotions)), yticklabels=emotions)
        ax.tick_params(labelsize=9, left=False)
        ax.set_title(modality, fontsize=10, fontweight="bold", color=COLOUR[modality])
        bar = figure.colorbar(image, ax=ax, orientation="horizontal", pad=0.02)
        bar.ax.set_xlim(max(0, 1 - reach), 1 + reach)  # attention is never below 0
        bar.set_label("mean attention received (1 = even)", fontsize=9)
        bar.ax.tick_params(labelsize=9)
    return figure


def _matched(vector: np.ndarray, times: np.ndarray, modality: str) -> tuple[np.ndarray, np.ndarray]:
    vector, times = np.asarray(vector, dtype=float), np.asarray(times, dtype=float)
    if vector.shape != times.shape or vector.ndim != 1:
        raise InputError(
            f"the {modality} attention vector has shape {vector.shape} and its times {times.shape}: "
            "both must be (steps,)."
        )
    return vector, times
