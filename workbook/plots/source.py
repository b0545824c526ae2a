"""The code that runs, shown where it is explained."""

import inspect
from collections.abc import Callable

from IPython.display import Markdown


def source(*pieces: type | Callable) -> Markdown:
    """The source of classes and functions, for a notebook; of one written in a notebook cell, a sentence."""
    return Markdown("\n\n".join(_text(piece) for piece in pieces))


def _text(piece: type | Callable) -> str:
    try:
        return f"```python\n{inspect.getsource(piece)}```"
    except (OSError, TypeError):  # of a class in a notebook cell: there is no file
        return f"`{piece.__qualname__}` was written in a notebook cell: read it there."
