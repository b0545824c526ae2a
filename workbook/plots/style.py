"""Colours: blue is audio, orange is video, green is both, in every figure."""

import seaborn as sns
from matplotlib.patheffects import withStroke

AUDIO, VIDEO, BOTH = "#0173b2", "#de8f05", "#029e73"  # from seaborn's colour-blind palette
COLOUR = {"video": VIDEO, "audio": AUDIO}  # in the order of the modalities in a figure
INK, QUIET, SHADE, NAVY = "#333333", "#8a8a8a", "#e4e4e4", "#2b4162"
CONDITION_STYLE = {  # colour and meaning of each condition, in the order of the conditions in a figure
    "AV": (BOTH, "both"),
    "A": (AUDIO, "audio alone"),
    "V": (VIDEO, "video alone"),
    "M": (QUIET, "mean"),
    "A noise": (AUDIO, "noise for video"),
    "V noise": (VIDEO, "noise for audio"),
    "A zeros": (AUDIO, "zeros for video"),
    "V zeros": (VIDEO, "zeros for audio"),
}
DARKER = {VIDEO: "#8f5a00", BOTH: "#01714f", "#8a8a8a": "#6b6b6b"}  # of text: a contrast of at least 4.5 on white
AROUND = {name: sns.blend_palette([INK, "white", colour], as_cmap=True) for name, colour in COLOUR.items()}
ORIGIN_COLOUR = {"real": NAVY, "toy": "#a0528c", "paper": QUIET}  # of results, which never mix
HALO = [withStroke(linewidth=2.5, foreground="white")]  # keeps a number readable where a line crosses it
WIDTH = 8.0  # inches of every full-width figure: at 150 dpi just over what GitHub shows, so text keeps its size


def text_colour(colour: str) -> str:
    """The colour, or a darker one that is readable as text on white."""
    return DARKER.get(colour, colour)


def condition_style(condition: str) -> tuple[str, str]:
    """The colour of a condition, and its name with its meaning, such as `A  audio alone`."""
    colour, meaning = CONDITION_STYLE.get(condition, (INK, ""))
    return colour, f"{condition}  {meaning}".rstrip()


def conditions_of(names) -> list[str]:
    """The conditions among the names, each once, in the order of a figure."""
    return [name for name in CONDITION_STYLE if name in set(names)]
