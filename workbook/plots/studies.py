"""Figures of `workbook.studies`, one for each study, from its table of results.

A system has one colour in all of them. Bands and lines around points are 95 % intervals.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from workbook.evaluate.conditions import PLACES
from workbook.plots.marks import band, cells, colour_bar, dots, grid, legend_around, name_rows, tidy_axes
from workbook.plots.style import AUDIO, COLOUR, INK, NAVY, QUIET, VIDEO, WIDTH, text_colour

SYSTEMS = (INK, "#d1495b", "#8f6bb3", "#7f9c3b", "#56b4e9", "#a0785a")  # none of them means a modality
DIVERGING = sns.blend_palette([AUDIO, "white", VIDEO], as_cmap=True)
CURVE = {"alpha": 0.12, "linewidth": 1.6}  # of accuracy, with its interval as a band
FEWEST = 5  # clips of a dot


def study_loss(table: pd.DataFrame) -> Figure:
    """Accuracy (lines) and confidence (dotted) while a modality fades: a row per modality, a column per place.

    table : as `studies.loss.results`; a ring marks where the other modality alone becomes better
    """
    parts = table[table["share"].between(1, 99)]  # a modality of one step has no shares between
    parts, colours = parts if len(parts) else table, _colours(table)
    modalities, places = _unique(parts, "modality"), _unique(parts, "where")
    figure, panels = _grid(len(modalities), len(places), 2.1)
    for row, modality in zip(panels, modalities, strict=True):
        for ax, where in zip(row, places, strict=True):
            own = table[(table.modality == modality) & (table["where"] == where)]
            for system, colour in colours.items():
                _loss_curve(ax, own[own.system == system], colour)
            ax.set(xlim=(-2, 102), ylim=(0, 102))
            text = f"{modality} gone {PLACES.get(where, '')} (%)"
            ax.set_xlabel(text, fontsize=8, color=text_colour(COLOUR[modality]))
        row[0].set_ylabel("accuracy (%)", fontsize=9)
    _legend(figure, colours, "dotted: confidence; ring: the other modality alone is better from here on")
    return figure


def _loss_curve(ax: Axes, own: pd.DataFrame, colour: str) -> None:
    curve, confidence = (own[own.measure == measure] for measure in ("accuracy", "confidence"))
    band(ax, curve.share, curve, "value", colour, **CURVE)
    ax.plot(confidence.share, confidence.value, color=colour, linewidth=1.2, linestyle=":")
    crossing = own.loc[own.measure == "better alone", "value"]
    if len(crossing) and crossing.iloc[0] < 100:
        height = np.interp(crossing.iloc[0], curve.share, curve.value)
        ax.plot(crossing.iloc[0], height, "o", color=colour, markerfacecolor="white", markersize=6, zorder=4)


def study_surface(table: pd.DataFrame) -> Figure:
    """Accuracy (%) of each sound with each picture, a panel per system; frames surround the cells where sound leads.

    table : as `studies.surface.results`; in a frame, sound alone is better than picture alone
    """
    ahead = table[table.measure == "ahead"]
    sounds, pictures = _unique(ahead, "snr"), _unique(ahead, "picture")
    figure, panels = _by_system(table, 0.9 + 0.28 * len(pictures))
    names = ["none" if np.isinf(snr) else f"{snr:g}" for snr in sounds]
    rows = ["unchanged" if picture == "AV" else picture for picture in pictures]
    for ax, _, own in panels:
        own = own[own.picture.isin(pictures) & own.sound.isin(ahead.sound)]
        wide = own.pivot_table("value", ["measure", "picture"], "snr", sort=False)
        values, leads = (wide.loc[name].reindex(index=pictures, columns=sounds) for name in ("accuracy", "ahead"))
        cells(ax, values, NAVY, 7, fmt=".0f", linewidths=0.5, xticklabels=names, yticklabels=rows)
        for row, column in np.argwhere(leads.to_numpy() > 0):
            frame = Rectangle((column, row), 1, 1, fill=False, edgecolor=AUDIO, linewidth=2, clip_on=False)
            ax.add_patch(frame)
        ax.set_xlabel("noise: SNR (dB)")
        ax.tick_params(labelsize=8)
    _heading(figure, "accuracy (%); blue frame: sound alone is better than picture alone")
    return figure


def study_offset(table: pd.DataFrame, lag: float = np.nan) -> Axes:
    """Accuracy while sound and picture are out of step; the axis begins a little below the lowest value.

    table : as `studies.offset.results`      lag : the authors' own, marked; NaN = not known
    """
    ax, unit, colours = tidy_axes(None, WIDTH, 2.6), table["unit"].iloc[0], _colours(table)
    for system, colour in colours.items():
        curve = table[table.system == system]
        band(ax, curve.by, curve, "value", colour, **CURVE)
    bottom = max(0, 10 * np.floor(table["value"].min() / 10) - 10)
    ax.axvline(0, color=QUIET, linewidth=0.7)
    if np.isfinite(lag):
        ax.axvline(lag, color=INK, linewidth=1, linestyle="--")
        ax.text(lag, bottom + 1, f" the authors' own: {lag:+.2f} {unit}", fontsize=8, color=INK)
    label = "accuracy (%)" + (f", from {bottom:.0f} on" if bottom else "")
    ax.set(xlabel=f"sound is early by ({unit}); below 0 it is late", ylabel=label, ylim=(bottom, 102))
    _legend(ax.figure, colours)
    return ax


def study_conflict(table: pd.DataFrame) -> Figure:
    """Which modality wins each pair of emotions, a panel per system: orange = face, blue = voice, in points.

    table : as `studies.conflict.results`; a cross marks pairs whose answers are mostly neither of the two
    """
    figure, panels = _by_system(table, 3.6)
    for ax, system, own in panels:
        lead = own[(own.measure == "lead") & (own.face != "")]
        faces = _unique(lead, "face")
        emotions = list(dict.fromkeys([*faces, *lead.voice]))
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
        ax.set_ylabel("face" if ax is figure.axes[0] else "", color=VIDEO, fontsize=9)
        ax.tick_params(labelsize=7)
        ax.tick_params(axis="x", labelrotation=90)
    label = "answers that follow the face, less those that follow the voice (points)"
    colour_bar([ax for ax, *_ in panels], label, location="bottom", aspect=40, shrink=0.5)
    _heading(figure, "who wins; white: a tie; ×: most answers are neither; grey: no conflict")
    return figure


def study_calibration(table: pd.DataFrame) -> Figure:
    """Reliability diagrams and risk against coverage, a column per system, a colour per condition.

    table : as `studies.calibration.results`
    On the diagonal, confidence is as high as accuracy. The size of a dot is its share of the clips; dots of fewer than
    FEWEST clips are left out.
    """
    figure, panels = _grid(2, table.system.nunique(), 2.4)
    conditions = _unique(table, "condition")
    colours = dict(zip(conditions, (INK, *map(_shade, conditions[1:])), strict=True))
    for (above, below), (system, own) in zip(panels.T, table.groupby("system", sort=False), strict=True):
        for condition, rows in own.groupby("condition", sort=False):
            bins, risk = (rows[rows.measure == measure] for measure in ("bin", "risk"))
            bins = bins[bins.share / 100 * bins.clips >= FEWEST]
            look = {"color": colours[condition], "alpha": 0.75, "linewidths": 0, "clip_on": False, "zorder": 3}
            above.scatter(bins["at"], bins.value, 3 * bins.share, **look)
            below.plot(risk["at"], risk.value, color=colours[condition], linewidth=1.4)
        above.plot([0, 100], [0, 100], color=QUIET, linewidth=0.7, zorder=0)
        error = own[own.measure == "ece"].value.iloc[0]
        above.set_title(f"{system}\ncalibration error {error:.0f} (AV)", fontsize=9, loc="left")
        for ax, label in ((above, "confidence (%)"), (below, "clips that are answered (%)")):
            ax.set(xlim=(0, 101), ylim=(0, 101))
            ax.set_xlabel(label, fontsize=8)
    panels[0, 0].set_ylabel("right (%)", fontsize=9)
    panels[1, 0].set_ylabel("wrong of these (%)", fontsize=9)
    note = f"a dot: {FEWEST} clips or more of like confidence; on the line, confidence is as high as accuracy"
    _legend(figure, colours, note, "upper center", ncols=3, fontsize=8)
    return figure


def _shade(condition: str) -> tuple:
    """The colour of a condition: blue where audio is gone, orange where video is, paler where less is."""
    base = AUDIO if "audio" in condition else VIDEO if "video" in condition else QUIET
    return sns.light_palette(base, 4)[3 if condition.startswith("all") else 2]


def study_credit(table: pd.DataFrame, names: Sequence[str] = ()) -> Figure:
    """What sound and picture each earn, in points, over all clips and for each emotion: a panel per system.

    table : as `studies.credit.results`      names : of the labels
    A diamond is what the two bring more (or less) together than one by one, with its interval.
    """
    groups = table[table.by.isin(("all", "label"))]
    keys = [("all", ""), *(("label", group) for group in groups[groups.by == "label"].group.unique())]
    figure, panels = _by_system(groups, 0.9 + 0.3 * len(keys))
    heights = np.arange(len(keys))
    for ax, _, own in panels:
        wide = own.set_index(["measure", "by", "group"])[["value", "low", "high"]]
        sound, picture, together = (wide.loc[name].reindex(keys) for name in ("sound", "picture", "together"))
        ax.barh(heights - 0.28, sound["value"], color=AUDIO, height=0.26)
        ax.barh(heights, picture["value"], color=VIDEO, height=0.26)
        dots(ax, together, heights + 0.28, INK, marker="D", color="white", edgecolors=INK)
        ax.axvline(0, color=INK, linewidth=0.7)
        name_rows(ax, ["all clips", *(names[int(group)] if names else group for _, group in keys[1:])])
        ax.set(xlim=(-105, 105), xlabel="points of accuracy")
    _legend(figure, {"sound": AUDIO, "picture": VIDEO}, loc="upper right")
    _heading(figure, "◇ together: above 0 more than one by one")
    return figure


def study_stand_ins(table: pd.DataFrame) -> Figure:
    """Accuracy with each stand-in for half of a modality and for all of it; the line is the intact clip.

    table : as `studies.stand_ins.results`
    """
    table = table[table.measure == "accuracy"]
    shares, colours = [share for share in _unique(table, "share") if share], _colours(table)
    figure, panels = _grid(len(shares), len(COLOUR), 2.4, sharey=False)
    for row, share in zip(panels, shares, strict=True):
        for ax, modality in zip(row, ("audio", "video"), strict=True):
            replaced = table[(table.modality == modality) & (table.share == share)]
            fills = _unique(replaced, "fill")
            if not fills:  # a modality of one step has no half
                ax.set_axis_off()
                continue
            for number, (system, colour) in enumerate(colours.items()):
                own = replaced[replaced.system == system]
                heights = [fills.index(fill) + 0.16 * (number - (len(colours) - 1) / 2) for fill in own.fill]
                dots(ax, own, heights, colour)
                intact = table[(table.system == system) & (table.share == 0)].value
                ax.axvline(intact.iloc[0], color=colour, linewidth=0.8, linestyle=":")
            name_rows(ax, fills)
            ax.set_xlim(0, 102)
            text = f"accuracy (%), {'all' if share == 100 else 'the second half'} of {modality} replaced"
            ax.set_xlabel(text, fontsize=8, color=text_colour(COLOUR[modality]))
    _legend(figure, colours, "dotted: the intact clip")
    return figure


def _grid(rows: int, columns: int, height: float, sharey: bool | str = "row") -> tuple[Figure, np.ndarray]:
    """A figure and its panels (rows, columns), which share their axes; height : of a row, in inches."""
    return grid(rows, columns, rows * height + 0.4, WIDTH if columns > 1 else 0.6 * WIDTH, sharey=sharey)


def _by_system(table: pd.DataFrame, height: float) -> tuple[Figure, list[tuple[Axes, str, pd.DataFrame]]]:
    """A figure with a panel for each system, side by side; each panel with its system's name and rows."""
    groups = table.groupby("system", sort=False)
    figure, (panels,) = _grid(1, len(groups), height)
    panels = [(ax, *group) for ax, group in zip(panels, groups, strict=True)]
    for ax, system, _ in panels:
        ax.set_title(system, fontsize=10, loc="left")
    return figure, panels


def _colours(table: pd.DataFrame) -> dict[str, str]:
    return {name: SYSTEMS[place % len(SYSTEMS)] for place, name in enumerate(_unique(table, "system"))}


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
