"""The code that runs, shown where a notebook explains it."""

import inspect
from collections.abc import Callable

from IPython.display import Markdown


def source(*objects: type | Callable) -> Markdown:
    """The source of classes and functions, for a notebook; a sentence for those that a notebook cell defines."""
    return Markdown("\n\n".join(_text(item) for item in objects))


def _text(item: type | Callable) -> str:
    try:
        return f"```python\n{inspect.getsource(item)}```"
    except (OSError, TypeError):  # a class from a notebook cell has no file
        return f"`{item.__qualname__}` was written in a notebook cell: read it there."
