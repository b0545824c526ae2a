"""Notebooks through papermill without a kernel: the cells run in the process of the test.

A kernel takes seconds to start and to import what this process has imported already. test_notebooks.py and
test_browser.py run the same notebooks in kernels.
"""

import contextlib
import os
from functools import partial

import matplotlib.pyplot as plt
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbformat.v4 import new_output
from papermill.engines import Engine, papermill_engines
from traitlets.config import Config

from workbook.plots import marks
from workbook.sweep.kernels import ENGINE


class InProcess(Engine):
    """Executes the cells of a notebook one after the other; an error in one is raised as it is."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, **_):
        shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
        nb_man.save = lambda **_: None  # papermill saves the notebook at its end, and need not do so at each cell
        for index, cell in enumerate(nb_man.nb.cells):
            nb_man.cell_start(cell, index)
            if cell.cell_type == "code":
                shell.displayhook.write_format_data = partial(_keep_texts, cell)
                with capture_output():
                    result = shell.run_cell(cell.source)
                result.raise_error()
            nb_man.cell_complete(cell, index)
        plt.close("all")  # as they are when a kernel ends


def _keep_texts(cell, data, metadata) -> None:
    """Keeps a cell's last expression as its output, but for pictures."""
    cell.outputs = [new_output("display_data", {kind: text for kind, text in data.items() if isinstance(text, str)})]


@contextlib.contextmanager
def without_kernels():
    """Papermill runs notebooks in this process within this block, and one process prepares clips.

    Figures have few pixels: to draw them is a third of the time.
    """
    with pytest.MonkeyPatch.context() as patch, plt.rc_context({"figure.dpi": 40}):
        patch.setattr(marks, "DPI", 40)
        patch.setattr(os, "cpu_count", lambda: 1)  # each process more imports for seconds
        for engine in (None, ENGINE):
            patch.setitem(papermill_engines._engines, engine, InProcess)
        yield
