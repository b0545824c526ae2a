"""A button that takes a film or a sound from the reader's own computer and shows the network's answer."""

from collections.abc import Callable
from html import escape
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import ipywidgets as widgets
from matplotlib.figure import Figure

from workbook import InputError

HINT = (
    "Nothing leaves this computer but to the kernel of this notebook. Jupyter and Voila carry 10 MB and drop the "
    "connection at more, without a word: <code>make lab</code> takes 200 MB. For a larger file, give its path as "
    "<code>clip</code>."
)


class Upload(widgets.VBox):
    """A button, and below it the answer to the last file, or why there is none.

    Attributes: button (FileUpload), message (HTML) and picture (Image), which stays until a new one is ready.
    """

    def __init__(self, answer: Callable[[Path], tuple[list[str], Figure]]):
        """answer : from a file to sentences and a figure; the file is deleted after the call"""
        self._answer = answer
        self.button = widgets.FileUpload(accept="video/*,audio/*", multiple=False, description="Film or sound")
        self.message = widgets.HTML(HINT)
        self.picture = widgets.Image(format="png", layout={"max_width": "100%", "display": "none"})
        self.button.observe(self._on_file, names="value")
        super().__init__([self.button, self.message, self.picture])

    def _on_file(self, change: dict) -> None:
        """Answers the uploaded file."""
        if not change["new"]:
            return
        file = change["new"][0]
        self.message.value = f"Looking at {escape(file['name'])} …"
        try:
            with TemporaryDirectory() as folder:
                path = Path(folder) / Path(file["name"]).name
                path.write_bytes(file["content"])
                sentences, figure = self._answer(path)
        except InputError as error:
            self.message.value, self.picture.layout.display = escape(str(error)), "none"
            return
        finally:
            self.button.value = ()  # so that the same file can be uploaded again
        image = BytesIO()
        figure.savefig(image, format="png", dpi=110, bbox_inches="tight", facecolor="white")
        self.message.value = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
        self.picture.value, self.picture.layout.display = image.getvalue(), ""
