"""Texts of others, such as the name of a clip, as text: in Markdown, LaTeX, a figure and a terminal.

In HTML that is `html.escape`, and `styled` for tables. Seconds in words and commands to copy, too.
"""

import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from pandas.io.formats.style import Styler

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
MARKDOWN = re.compile(r"[\\`*<>&\[\]|$~#@]|(?<![^\W_])_|_(?![^\W_])")  # an underscore inside a word is one
LATEX = {sign: f"\\{sign}" for sign in "&%$#_{}"}
LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def printable(text: object) -> str:
    """Text for a terminal: control characters, also those that turn the direction, become `\\x1b` and the like."""
    return CONTROL.sub(lambda sign: sign[0].encode("unicode_escape", "surrogatepass").decode(), str(text))


def one_line(text: object) -> str:
    """Text for a terminal, in one line: of an error, for example."""
    return " ".join(printable(text).split())


def in_markdown(text: object) -> str:
    """Text for a line or a cell of Markdown."""
    return MARKDOWN.sub(lambda sign: f"&#{ord(sign[0])};", one_line(text))


def in_latex(text: object) -> str:
    """Text for a paragraph or a cell of LaTeX."""
    return one_line(text).translate(str.maketrans(LATEX))


def in_figure(text: object) -> str:
    """Text for a figure, where matplotlib reads what stands between two dollars as a formula."""
    return printable(text).replace("$", r"\$")


def as_time(seconds: float) -> str:
    """A time to be read, such as `41 s`, `14 min` or `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def quoted(value: object) -> str:
    """A value as one word of a command, for the shells of this system."""
    return subprocess.list2cmdline([str(value)]) if sys.platform == "win32" else shlex.quote(str(value))


def papermill_command(notebook: str, parameters: dict[str, Any]) -> str:
    """The command that executes a notebook with these parameters."""
    options = "".join(f" -p {name} {quoted(value)}" for name, value in parameters.items())
    return f"papermill notebooks/{notebook}.ipynb outputs/{notebook}.ipynb{options}"


def styled(table: "pd.DataFrame", *arguments: Any, **settings: Any) -> "Styler":
    """A table for a notebook, with text in its cells, rows and columns; arguments, settings : of `Styler.format`."""
    style = table.style.format(*arguments, escape="html", **settings)
    return style.format_index(escape="html").format_index(escape="html", axis="columns")
