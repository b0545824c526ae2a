"""A button that takes a film or a sound from the reader's own computer or webcam, and shows the network's answer."""

from collections.abc import Callable
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

import anywidget
import ipywidgets as widgets
import traitlets
from IPython.core.pylabtools import print_figure
from matplotlib.figure import Figure

from workbook import InputError

HINT = (
    "Nothing leaves this computer but to the kernel of this notebook. Files above 10 MB need <code>make lab</code> "
    "(200 MB) or their path as <code>clip</code>: else the connection drops without a word."
)


class Webcam(anywidget.AnyWidget):
    """A button that records the webcam in the browser; `take` gets the name of a file and its bytes."""

    _esm = Path(__file__).with_name("webcam.js")
    seconds = traitlets.Float(5.0).tag(sync=True)  # of a recording: a window of 3.6 s and its edges

    def __init__(self, take: Callable[[str, bytes], None]):
        super().__init__()
        self.on_msg(lambda _, message, buffers: take(message["name"], bytes(buffers[0])))


class Upload(widgets.VBox):
    """Buttons for a file and the webcam, and below them the answer to the last clip, or why there is none.

    Attributes: button (FileUpload), webcam (Webcam), anyway (Checkbox: answer although it means nothing; hidden where
    that is no question), message (HTML) and picture (Image), which stays until a new one is ready.
    """

    def __init__(self, answer: Callable[[Path, bool], tuple[list[str], Figure]], asks: bool = False):
        """answer : from a file, and whether to answer anyway, to sentences and a figure; the file is deleted then
        asks : whether the reader has to ask for an answer
        """
        self._answer = answer
        self.button = widgets.FileUpload(accept="video/*,audio/*", multiple=False, description="Film or sound")
        self.webcam = Webcam(self._on_clip)
        self.anyway = widgets.Checkbox(description="answer all the same", indent=False, value=not asks)
        self.anyway.layout.display = None if asks else "none"
        self.message = widgets.HTML(HINT)
        self.picture = widgets.Image(format="png", layout={"max_width": "100%", "display": "none"})
        self.button.observe(self._on_file, names="value")
        row = widgets.HBox([self.button, self.webcam, self.anyway], layout={"flex_flow": "row wrap"})
        super().__init__([row, self.message, self.picture])

    def _on_file(self, change: dict) -> None:
        for file in change["new"]:
            try:
                self._on_clip(file["name"], file["content"])
            finally:
                self.button.value = ()  # so that the same file can be uploaded again

    def _on_clip(self, name: str, content: bytes) -> None:
        self.message.value = f"Looking at {escape(name)} …"
        try:
            with TemporaryDirectory() as folder:
                path = Path(folder) / Path(name).name
                path.write_bytes(content)
                sentences, figure = self._answer(path, self.anyway.value)
        except InputError as error:
            self.message.value, self.picture.layout.display = escape(str(error)), "none"
            return
        self.message.value = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
        self.picture.value = print_figure(figure, dpi=110, facecolor="white")
        self.picture.layout.display = ""
