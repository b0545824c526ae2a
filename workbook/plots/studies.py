"""Figures of `workbook.studies`, one for each study, from its table of results.

A system has one colour in all of them. Bands and lines around points are 95 % intervals.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from workbook.evaluate.conditions import PLACES
from workbook.plots.marks import band, cells, colour_bar, legend_above, legend_around, name_rows, whiskers
from workbook.plots.style import AUDIO, COLOUR, INK, NAVY, QUIET, VIDEO, WIDTH, grid, tidy_axes

SYSTEMS = (INK, "#d1495b", "#8f6bb3", "#7f9c3b", "#56b4e9", "#a0785a")  # none of them means a modality
DIVERGING = sns.blend_palette([AUDIO, "white", VIDEO], as_cmap=True)
FEWEST = 5  # clips of a dot


def study_loss(table: pd.DataFrame) -> Figure:
    """Accuracy (lines) and confidence (dotted) while a modality fades: a row per modality, a column per place.

    table : as `studies.loss.table`; a ring marks where the other modality alone becomes better
    """
    parts = table[table["share"].between(1, 99)]  # a modality of one step has no shares between
    modalities, places = _unique(parts, "modality"), _unique(parts, "where")
    figure, panels = _grid(len(modalities), len(places), 2.1)
    for row, modality in zip(panels, modalities, strict=True):
        for ax, where in zip(row, places, strict=True):
            for system, colour in _colours(table).items():
                own = table[(table.system == system) & (table.modality == modality) & (table["where"] == where)]
                _loss_curve(ax, own, colour)
            ax.set(xlim=(-2, 102), ylim=(0, 102))
            ax.set_xlabel(f"{modality} gone {PLACES.get(where, '')} (%)", fontsize=8, color=COLOUR[modality])
        row[0].set_ylabel("accuracy (%)", fontsize=9)
    _legend(figure, _colours(table), "dotted: confidence; ring: the other modality alone is better from here on")
    return figure


def _loss_curve(ax: Axes, own: pd.DataFrame, colour: str) -> None:
    curve, confidence = (own[own.measure == measure] for measure in ("accuracy", "confidence"))
    _accuracy(ax, curve, "share", colour)
    ax.plot(confidence.share, confidence.value, color=colour, linewidth=1.2, linestyle=":")
    crossing = own.loc[own.measure == "better alone", "value"]
    if len(crossing) and crossing.iloc[0] < 100:
        height = np.interp(crossing.iloc[0], curve.share, curve.value)
        ax.plot(crossing.iloc[0], height, "o", color=colour, markerfacecolor="white", markersize=6, zorder=4)


def study_surface(table: pd.DataFrame) -> Figure:
    """Accuracy (%) of each sound with each picture, a panel per system; a frame surrounds the cells where sound leads.

    table : as `studies.surface.table`; inside the frame, sound alone is better than picture alone
    """
    ahead = table[table.measure == "ahead"]
    sounds, pictures = _unique(ahead, "snr"), _unique(ahead, "picture")
    figure, (panels,) = _grid(1, table.system.nunique(), 0.9 + 0.28 * len(pictures))
    for ax, system in zip(panels, _unique(table, "system"), strict=True):
        own = table[(table.system == system) & table.picture.isin(pictures) & table.sound.isin(ahead.sound)]
        wide = own.pivot_table("value", ["measure", "picture"], "snr", sort=False)
        values, leads = (wide.loc[name].reindex(index=pictures, columns=sounds) for name in ("accuracy", "ahead"))
        names = ["none" if np.isinf(snr) else f"{snr:g}" for snr in sounds]
        rows = ["unchanged" if picture == "AV" else picture for picture in pictures]
        cells(ax, values, NAVY, 7, fmt=".0f", linewidths=0.5, xticklabels=names, yticklabels=rows)
        _border(ax, leads.to_numpy() > 0)
        ax.set_xlabel("noise: SNR (dB)")
        ax.set_title(system, fontsize=10, loc="left")
        ax.tick_params(labelsize=8)
    _heading(figure, "accuracy (%); blue frame: sound alone is better than picture alone")
    return figure


def _border(ax: Axes, inside: np.ndarray) -> None:
    """Draws a line around the cells (rows, columns) that are True."""
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
        _accuracy(ax, table[table.system == system], "by", colour, label=system)
    bottom = max(0, 10 * np.floor(table.loc[table.measure == "accuracy", "value"].min() / 10) - 10)
    ax.axvline(0, color=QUIET, linewidth=0.7)
    if np.isfinite(lag):
        ax.axvline(lag, color=INK, linewidth=1, linestyle="--")
        ax.text(lag, bottom + 1, f" the authors' own: {lag:+.2f} {unit}", fontsize=8, color=INK)
    label = "accuracy (%)" + (f", from {bottom:.0f} on" if bottom else "")
    ax.set(xlabel=f"sound is early by ({unit}); below 0 it is late", ylabel=label, ylim=(bottom, 102))
    legend_above(ax)
    return ax


def study_conflict(table: pd.DataFrame) -> Figure:
    """Which modality wins each pair of emotions, a panel per system: orange = face, blue = voice, in points.

    table : as `studies.conflict.table`; a cross marks pairs whose answers are mostly neither of the two
    """
    figure, (panels,) = _grid(1, table.system.nunique(), 3.6)
    for ax, (system, own) in zip(panels, table.groupby("system", sort=False), strict=True):
        lead = own[(own.measure == "lead") & (own.face != "")]
        faces = _unique(lead, "face")
        emotions = [*faces, *(voice for voice in _unique(lead, "voice") if voice not in faces)]
        wide = lead.pivot_table("value", "face", "voice").reindex(index=faces, columns=emotions)
        look = {"vmin": -100, "annot": False, "square": True, "linewidths": 0.5}
        ax.set_facecolor("#d9d9d9")
        cells(ax, wide, DIVERGING, xticklabels=True, yticklabels=True, **look)
        neither = own[(own.measure == "neither") & (own.face != "") & (own.value > 50)]
        for face, voice in zip(neither.face, neither.voice, strict=True):
            ax.text(emotions.index(voice) + 0.5, faces.index(face) + 0.5, "×", ha="center", va="center", fontsize=8)
        shares = own[(own.face == "") & (own.measure != "agree")].set_index("measure")["value"]
        ax.set_title(f"{system}\nface {shares.face:.0f} %, voice {shares.voice:.0f} %", fontsize=9, loc="left")
        ax.set_xlabel("voice", color=AUDIO, fontsize=9)
        ax.set_ylabel("face" if ax is panels[0] else "", color=VIDEO, fontsize=9)
        ax.tick_params(labelsize=7)
        ax.tick_params(axis="x", labelrotation=90)
    label = "answers that follow the face, less those that follow the voice (points)"
    colour_bar(panels, label, location="bottom", aspect=40, shrink=0.5)
    _heading(figure, "who wins; white: a tie; ×: most answers are neither; grey: no conflict")
    return figure


def study_calibration(table: pd.DataFrame) -> Figure:
    """Reliability diagrams and risk against coverage, a column per system, a colour per condition.

    table : as `studies.calibration.table`
    On the diagonal, confidence is as high as accuracy. The size of a dot is its share of the clips; dots of fewer than
    FEWEST clips are left out.
    """
    figure, panels = _grid(2, table.system.nunique(), 2.4)
    conditions = _unique(table, "condition")
    colours = dict(zip(conditions, (INK, *_shades(conditions[1:])), strict=True))
    for column, system in zip(panels.T, _unique(table, "system"), strict=True):
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
    panels[0, 0].set_ylabel("right (%)", fontsize=9)
    panels[1, 0].set_ylabel("wrong of these (%)", fontsize=9)
    note = f"a dot: {FEWEST} clips or more of like confidence; on the line, confidence is as high as accuracy"
    _legend(figure, colours, note, "upper center", ncols=3, fontsize=8)
    return figure


def _shades(conditions: Sequence[str]) -> list[tuple]:
    """A colour for each condition: blue where audio is gone, orange where video is, paler where less is."""
    bases = [AUDIO if "audio" in name else VIDEO if "video" in name else QUIET for name in conditions]
    return [
        sns.light_palette(base, 4)[3 if name.startswith("all") else 2]
        for base, name in zip(bases, conditions, strict=True)
    ]


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
        for offset, share, colour in ((-0.28, sound, AUDIO), (0.0, picture, VIDEO)):
            ax.barh(heights + offset, share["value"], color=colour, height=0.26)
        whiskers(ax, together, heights + 0.28, INK, width=1)
        ax.plot(together["value"], heights + 0.28, "D", color="white", markeredgecolor=INK, markersize=4)
        ax.axvline(0, color=INK, linewidth=0.7)
        labels = ["all clips", *(names[int(group)] if names else group for _, group in keys[1:])]
        name_rows(ax, labels)
        ax.set(xlim=(-105, 105), xlabel="points of accuracy")
        ax.set_title(system, fontsize=10, loc="left")
    _legend(figure, {"sound": AUDIO, "picture": VIDEO}, loc="upper right")
    _heading(figure, "◇ together: above 0 more than one by one")
    return figure


def study_stand_ins(table: pd.DataFrame) -> Figure:
    """Accuracy with each stand-in for half of a modality and for all of it; the line is the intact clip.

    table : as `studies.stand_ins.table`
    """
    shares, modalities = [share for share in _unique(table, "share") if share], ["audio", "video"]
    figure, panels = _grid(len(shares), len(modalities), 2.4, sharey=False)
    table = table[table.measure == "accuracy"]
    colours = _colours(table)
    for row, share in zip(panels, shares, strict=True):
        for ax, modality in zip(row, modalities, strict=True):
            fills = _unique(table[(table.modality == modality) & (table.share == share)], "fill")
            if not fills:  # a modality of one step has no half
                ax.set_axis_off()
                continue
            for number, (system, colour) in enumerate(colours.items()):
                own = table[(table.system == system) & (table.modality == modality) & (table.share == share)]
                heights = [fills.index(fill) + 0.16 * (number - (len(colours) - 1) / 2) for fill in own.fill]
                whiskers(ax, own, heights, colour, width=1.2)
                ax.plot(own.value, heights, "o", color=colour, markersize=4.5)
                intact = table[(table.system == system) & (table.share == 0)].value
                ax.axvline(intact.iloc[0], color=colour, linewidth=0.8, linestyle=":")
            name_rows(ax, fills)
            part = "all" if share == 100 else "the second half"
            ax.set(xlim=(0, 102))
            ax.set_xlabel(f"accuracy (%), {part} of {modality} replaced", fontsize=8, color=COLOUR[modality])
    _legend(figure, colours, "dotted: the intact clip")
    return figure


def _grid(rows: int, columns: int, height: float, sharey: bool | str = "row") -> tuple[Figure, np.ndarray]:
    """A figure and its panels (rows, columns), which share their axes; height : of a row, in inches."""
    return grid(rows, columns, rows * height + 0.4, WIDTH if columns > 1 else 0.6 * WIDTH, sharey=sharey)


def _accuracy(ax: Axes, rows: pd.DataFrame, x: str, colour: str, label: str | None = None) -> None:
    """Draws accuracy as a curve with its interval as a band."""
    rows = rows[rows.measure == "accuracy"]
    band(ax, rows[x], rows, "value", colour, alpha=0.12, linewidth=1.6, label=label)


def _colours(table: pd.DataFrame) -> dict[str, str]:
    systems = _unique(table, "system")
    return {name: SYSTEMS[place % len(SYSTEMS)] for place, name in enumerate(systems)}


def _unique(table: pd.DataFrame, column: str) -> list:
    return list(dict.fromkeys(table[column].dropna()))


def _heading(figure: Figure, text: str) -> None:
    figure.suptitle(text, fontsize=9, x=0.01, ha="left")


def _legend(figure: Figure, colours: dict[str, str], note: str = "", loc: str = "upper left", **options) -> None:
    """Puts a legend of colours above the panels, and a note below them on the right."""
    handles = [Patch(color=colour, label=name) for name, colour in colours.items()]
    legend_around(figure, loc, handles=handles, **options)
    if note:
        figure.supxlabel(note, fontsize=8, color=QUIET, x=0.99, ha="right")
