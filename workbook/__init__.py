"""What the notebooks stand on, with one folder for each chapter; `avlib` holds the paper's model."""

import os
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # the workbook: all paths start here, not at the working directory
DATA = ROOT / os.environ.get("AVLIB_DATA", "data")  # corpora and stores; ignored by git
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


# Loaded on first use, so that `import workbook` needs only the standard library.
_LAZY = {
    "drop_modality": "workbook.evaluate.conditions",
    "load_run": "workbook.run.reopen",
    "open_trained": "workbook.run.reopen",
}
__all__ = ["DATA", "OUTPUTS", "ROOT", "InputError", *_LAZY]


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'workbook' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
