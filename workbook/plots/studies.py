"""Figures of `workbook.studies`, one for each study, from its table of results.

Systems have one colour in all of them. Bands and lines around points are 95 % intervals of actors.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from workbook.plots.panels import AUDIO, COLOUR, INK, QUIET, VIDEO, WIDTH, new_figure, tidy_axes

SYSTEMS = ("#333333", "#d1495b", "#8f6bb3", "#7f9c3b", "#56b4e9", "#a0785a")  # none of them means a modality
TINTS = sns.light_palette("#2b4162", as_cmap=True)
DIVERGING = sns.blend_palette([AUDIO, "white", VIDEO], as_cmap=True)
FEWEST = 5  # clips of a dot
PLACES = {"scattered": "here and there", "start": "at the start", "middle": "in the middle", "end": "at the end"}


def study_loss(table: pd.DataFrame) -> Figure:
    """Accuracy (lines) and confidence (dotted) while a modality goes: a row per modality, a column per place.

    table : as `studies.loss.table`; a ring marks where the other modality alone becomes better
    """
    parts = table[table["share"].between(1, 99)]  # a modality of one step has none: it is there or not
    modalities, places = _unique(parts, "modality"), _unique(parts, "where")
    figure, grid = _grid(len(modalities), len(places), 2.1)
    for row, modality in zip(grid, modalities, strict=True):
        for ax, where in zip(row, places, strict=True):
            for system, colour in _colours(table).items():
                own = table[(table.system == system) & (table.modality == modality) & (table["where"] == where)]
                _loss_curve(ax, own, colour)
            ax.set(xlim=(-2, 102), ylim=(0, 102))
            ax.set_xlabel(f"{modality} gone {PLACES.get(where, '')} (%)", fontsize=8, color=COLOUR[modality])
        row[0].set_ylabel("accuracy (%)", fontsize=9)
    _legend(figure, table, "dotted: confidence; ring: the other modality alone is better from here on")
    return figure


def _loss_curve(ax: Axes, own: pd.DataFrame, colour: str) -> None:
    curve = own[own.measure == "accuracy"]
    _line(ax, curve, "share", colour)
    sure = own[own.measure == "confidence"]
    ax.plot(sure.share, sure.value, color=colour, linewidth=1.2, linestyle=":")
    worse = own.loc[own.measure == "better alone", "value"]
    if len(worse) and worse.iloc[0] < 100:
        at = np.interp(worse.iloc[0], curve.share, curve.value)
        ax.plot(worse.iloc[0], at, "o", color=colour, markerfacecolor="white", markersize=6, zorder=4)


def study_surface(table: pd.DataFrame) -> Figure:
    """Accuracy (%) of each sound with each picture, a panel per system; the line parts cells in which sound leads.

    table : as `studies.surface.table`; above the line, or left of it, sound alone is better than picture alone
    """
    ahead = table[table.measure == "ahead"]
    sounds, pictures = _unique(ahead, "snr"), _unique(ahead, "picture")
    figure, (panels,) = _grid(1, table.system.nunique(), 0.9 + 0.28 * len(pictures))
    for ax, system in zip(panels, _unique(table, "system"), strict=True):
        own = table[(table.system == system) & table.picture.isin(pictures) & table.sound.isin(ahead.sound)]
        wide = own.pivot_table("value", ["measure", "picture"], "snr", sort=False)
        values, leads = (wide.loc[name].reindex(index=pictures, columns=sounds) for name in ("accuracy", "ahead"))
        names = ["none" if np.isinf(snr) else f"{snr:g}" for snr in sounds]
        look = {"vmin": 0, "vmax": 100, "cmap": TINTS, "annot": True, "fmt": ".0f", "cbar": False, "linewidths": 0.5}
        rows = ["as it is" if picture == "AV" else picture for picture in pictures]
        sns.heatmap(values, ax=ax, xticklabels=names, yticklabels=rows, annot_kws={"fontsize": 7}, **look)
        _border(ax, leads.to_numpy() > 0)
        ax.set(xlabel="noise: SNR (dB)", ylabel="")
        ax.set_title(system, fontsize=10, loc="left")
        ax.tick_params(length=0, labelsize=8)
    figure.suptitle("accuracy (%); blue frame: sound alone is better than picture alone", fontsize=9, x=0.01, ha="left")
    return figure


def _border(ax: Axes, inside: np.ndarray) -> None:
    """A line around the cells (rows, columns) that are True."""
    padded = np.pad(inside, 1)
    for row, column in zip(*np.nonzero(padded), strict=True):
        x, y = column - 1, row - 1
        sides = {(0, -1): ((x, x), (y, y + 1)), (0, 1): ((x + 1, x + 1), (y, y + 1))}
        sides |= {(-1, 0): ((x, x + 1), (y, y)), (1, 0): ((x, x + 1), (y + 1, y + 1))}
        for (down, right), line in sides.items():
            if not padded[row + down, column + right]:
                ax.plot(*line, color=AUDIO, linewidth=2, clip_on=False)


def study_offset(table: pd.DataFrame, lag: float = np.nan, ax: Axes | None = None) -> Axes:
    """Accuracy while sound and picture are out of step; the axis begins a little below the lowest value.

    table : as `studies.offset.table`      lag : the authors' own, marked; NaN = not known
    """
    unit = table["unit"].iloc[0]
    ax = tidy_axes(ax, WIDTH, 2.6)
    for system, colour in _colours(table).items():
        _line(ax, table[table.system == system], "by", colour, label=system)
    bottom = max(0, 10 * np.floor(table.loc[table.measure == "accuracy", "value"].min() / 10) - 10)
    ax.axvline(0, color=QUIET, linewidth=0.7)
    if np.isfinite(lag):
        ax.axvline(lag, color=INK, linewidth=1, linestyle="--")
        ax.text(lag, bottom + 1, f" the authors' own: {lag:+.2f} {unit}", fontsize=8, color=INK)
    from_ = f", from {bottom:.0f} on" if bottom else ""
    ax.set(xlabel=f"sound is early by ({unit}); below 0 it is late", ylabel=f"accuracy (%){from_}", ylim=(bottom, 102))
    ax.legend(frameon=False, fontsize=9, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
    return ax


def study_conflict(table: pd.DataFrame) -> Figure:
    """Who wins for each pair of emotions, a panel per system: orange = the face, blue = the voice, in points.

    table : as `studies.conflict.table`; a cross marks pairs whose answers are mostly neither of the two
    """
    figure, (panels,) = _grid(1, table.system.nunique(), 3.6)
    for ax, (system, own) in zip(panels, table.groupby("system", sort=False), strict=True):
        lead = own[(own.measure == "lead") & (own.face != "")]
        faces = _unique(lead, "face")
        emotions = [*faces, *(voice for voice in _unique(lead, "voice") if voice not in faces)]
        wide = lead.pivot_table("value", "face", "voice").reindex(index=faces, columns=emotions)
        look = {"vmin": -100, "vmax": 100, "cmap": DIVERGING, "square": True, "linewidths": 0.5, "cbar": False}
        ax.set_facecolor("#d9d9d9")
        sns.heatmap(wide, ax=ax, xticklabels=True, yticklabels=True, **look)
        neither = own[(own.measure == "neither") & (own.face != "") & (own.value > 50)]
        for face, voice in zip(neither.face, neither.voice, strict=True):
            ax.text(emotions.index(voice) + 0.5, faces.index(face) + 0.5, "×", ha="center", va="center", fontsize=8)
        shares = own[(own.face == "") & (own.measure != "agree")].set_index("measure")["value"]
        ax.set_title(f"{system}\nface {shares.face:.0f} %, voice {shares.voice:.0f} %", fontsize=9, loc="left")
        ax.set_xlabel("voice", color=AUDIO, fontsize=9)
        ax.set_ylabel("face" if ax is panels[0] else "", color=VIDEO, fontsize=9)
        ax.tick_params(length=0, labelsize=7, labelrotation=0)
        ax.tick_params(axis="x", labelrotation=90)
    words = {"label": "answers that follow the face, less those that follow the voice (points)", "shrink": 0.5}
    bar = figure.colorbar(panels[0].collections[0], ax=list(panels), location="bottom", aspect=40, **words)
    bar.ax.tick_params(labelsize=8)
    bar.set_label(words["label"], fontsize=8)
    figure.suptitle(
        "who wins; white: a tie; ×: most answers are neither; grey: no conflict", fontsize=9, x=0.01, ha="left"
    )
    return figure


def study_calibration(table: pd.DataFrame) -> Figure:
    """Reliability diagrams and risk against coverage, a column per system, a colour per condition.

    table : as `studies.calibration.table`; the diagonal is a network that knows how often it is right, and a dot is as
        large as the share of the clips that it stands for. Dots of fewer than FEWEST clips are left out.
    """
    figure, grid = _grid(2, table.system.nunique(), 2.4)
    conditions = _unique(table, "condition")
    colours = dict(zip(conditions, (INK, *_shades(conditions[1:])), strict=True))
    for column, system in zip(grid.T, _unique(table, "system"), strict=True):
        for ax, measure in zip(column, ("bin", "risk"), strict=True):
            for condition, colour in colours.items():
                rows = table[(table.system == system) & (table.condition == condition) & (table.measure == measure)]
                if measure == "risk":
                    ax.plot(rows["at"], rows.value, color=colour, linewidth=1.4)
                    continue
                rows = rows[rows.share / 100 * rows.clips >= FEWEST]
                look = {"color": colour, "alpha": 0.75, "linewidths": 0, "clip_on": False, "zorder": 3}
                ax.scatter(rows["at"], rows.value, 3 * rows.share, **look)
        column[0].plot([0, 100], [0, 100], color=QUIET, linewidth=0.7, zorder=0)
        error = table[(table.system == system) & (table.measure == "ece")].value.iloc[0]
        column[0].set_title(f"{system}\ncalibration error {error:.0f} (AV)", fontsize=9, loc="left")
        column[0].set(xlim=(0, 101), ylim=(0, 101))
        column[0].set_xlabel("confidence (%)", fontsize=8)
        column[1].set(xlim=(0, 101), ylim=(0, 101))
        column[1].set_xlabel("clips that are answered (%)", fontsize=8)
    grid[0, 0].set_ylabel("right (%)", fontsize=9)
    grid[1, 0].set_ylabel("wrong of these (%)", fontsize=9)
    handles = [Patch(color=colour, label=condition) for condition, colour in colours.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    note = f"a dot: {FEWEST} clips or more of like confidence; on the line, confidence is as high as accuracy"
    figure.supxlabel(note, fontsize=8, color=QUIET, x=0.99, ha="right")
    return figure


def _shades(conditions: Sequence[str]) -> list[tuple]:
    """A colour for each condition: blue where audio is gone, orange where video is, paler where less is."""
    found = []
    for condition in conditions:
        base = AUDIO if "audio" in condition else VIDEO if "video" in condition else QUIET
        found.append(sns.light_palette(base, 4)[3 if condition.startswith("all") else 2])
    return found


def study_credit(table: pd.DataFrame, names: Sequence[str] = ()) -> Figure:
    """What sound and picture each earn, in points, over all clips and for each emotion: a panel per system.

    table : as `studies.credit.table`      names : of the labels
    A diamond is what the two bring more (or less) together than one by one, with its interval.
    """
    groups = table[table.by.isin(("all", "label"))]
    keys = [("all", ""), *(("label", group) for group in groups[groups.by == "label"].group.unique())]
    figure, (panels,) = _grid(1, table.system.nunique(), 0.9 + 0.3 * len(keys))
    heights = np.arange(len(keys))
    for ax, (system, own) in zip(panels, groups.groupby("system", sort=False), strict=True):
        wide = own.set_index(["measure", "by", "group"])[["value", "low", "high"]]
        sound, picture, together = (wide.loc[name].reindex(keys) for name in ("sound", "picture", "together"))
        for offset, found, colour in ((-0.28, sound, AUDIO), (0.0, picture, VIDEO)):
            ax.barh(heights + offset, found["value"], color=colour, height=0.26)
        ax.hlines(heights + 0.28, together["low"], together["high"], color=INK, linewidth=1)
        ax.plot(together["value"], heights + 0.28, "D", color="white", markeredgecolor=INK, markersize=4)
        ax.axvline(0, color=INK, linewidth=0.7)
        labels = ["all clips", *(names[int(group)] if names else group for _, group in keys[1:])]
        ax.set(yticks=heights, ylim=(len(keys) - 0.5, -0.5), xlim=(-105, 105), xlabel="points of accuracy")
        ax.set_yticklabels(labels, fontsize=9)
        ax.set_title(system, fontsize=10, loc="left")
    marks = [Patch(color=AUDIO, label="sound"), Patch(color=VIDEO, label="picture")]
    figure.legend(handles=marks, loc="outside upper right", ncols=2, frameon=False, fontsize=9)
    figure.suptitle("◇ together: above 0 more than one by one", fontsize=9, x=0.01, ha="left")
    return figure


def study_stand_ins(table: pd.DataFrame) -> Figure:
    """Accuracy with each stand-in for half of a modality and for all of it; the line is the whole clip.

    table : as `studies.stand_ins.table`
    """
    shares, modalities = [share for share in _unique(table, "share") if share], ["audio", "video"]
    figure, grid = _grid(len(shares), len(modalities), 2.4, sharey=False)
    table = table[table.measure == "accuracy"]
    colours = _colours(table)
    for row, share in zip(grid, shares, strict=True):
        for ax, modality in zip(row, modalities, strict=True):
            fills = _unique(table[(table.modality == modality) & (table.share == share)], "fill")
            if not fills:  # a modality of one step has no half
                ax.set_axis_off()
                continue
            for number, (system, colour) in enumerate(colours.items()):
                own = table[(table.system == system) & (table.modality == modality) & (table.share == share)]
                heights = [fills.index(fill) + 0.16 * (number - (len(colours) - 1) / 2) for fill in own.fill]
                ax.hlines(heights, own.low, own.high, color=colour, linewidth=1.2)
                ax.plot(own.value, heights, "o", color=colour, markersize=4.5)
                whole = table[(table.system == system) & (table.share == 0)].value
                ax.axvline(whole.iloc[0], color=colour, linewidth=0.8, linestyle=":")
            ax.set(yticks=range(len(fills)), ylim=(len(fills) - 0.5, -0.5), xlim=(0, 102))
            ax.set_yticklabels(fills, fontsize=9)
            what = "all" if share == 100 else "the second half"
            ax.set_xlabel(f"accuracy (%), {what} of {modality} replaced", fontsize=8, color=COLOUR[modality])
    _legend(figure, table, "dotted: the whole clip")
    return figure


def _grid(rows: int, columns: int, height: float, sharey: bool | str = "row") -> tuple[Figure, np.ndarray]:
    """A figure and its panels (rows, columns), which share their axes; height : of a row, in inches."""
    figure = new_figure(rows * height + 0.4, WIDTH if columns > 1 else 0.6 * WIDTH)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    for ax in panels.flat:
        tidy_axes(ax)
    return figure, panels


def _line(ax: Axes, rows: pd.DataFrame, x: str, colour: str, label: str | None = None) -> None:
    """A curve with its interval as a band."""
    rows = rows[rows.measure == "accuracy"]
    ax.fill_between(rows[x], rows.low, rows.high, color=colour, alpha=0.12, linewidth=0)
    ax.plot(rows[x], rows.value, color=colour, linewidth=1.6, label=label)


def _colours(table: pd.DataFrame) -> dict[str, str]:
    systems = _unique(table, "system")
    return {name: SYSTEMS[place % len(SYSTEMS)] for place, name in enumerate(systems)}


def _unique(table: pd.DataFrame, column: str) -> list:
    return list(dict.fromkeys(table[column].dropna()))


def _legend(figure: Figure, table: pd.DataFrame, note: str) -> None:
    handles = [Patch(color=colour, label=name) for name, colour in _colours(table).items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=4, frameon=False, fontsize=9)
    figure.supxlabel(note, fontsize=8, color=QUIET, x=0.99, ha="right")
