"""What the notebooks stand on, with one folder for each chapter; `avlib` holds the paper's model."""

import os
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # the workbook: all paths start here, not at the working directory
DATA = ROOT / (os.environ.get("AVLIB_DATA") or "data")  # corpora and stores; ignored by git
OUTPUTS = ROOT / "outputs"  # one folder per run

# Threads that wait for others spin only a moment before they sleep: beside other busy processes, endless spinning makes
# PyTorch many times slower (docs/speed.md). GNU's OpenMP reads this when torch is loaded; your own setting wins.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


class InputError(ValueError):
    """Wrong input by the user, in one sentence: what is wrong, where, and what would be right."""

    def _render_traceback_(self) -> list[str]:
        """The sentence alone; IPython shows it in place of a traceback."""
        return [f"InputError: {self}"]


_OF_RUNS = ("load_run", "open_trained")
__all__ = ["DATA", "OUTPUTS", "ROOT", "InputError", *_OF_RUNS]


def __getattr__(name: str):
    if name in _OF_RUNS:  # on first use, so that `import workbook` needs only the standard library
        return getattr(import_module("workbook.run.reopen"), name)
    raise AttributeError(f"module 'workbook' has no attribute {name!r}")
