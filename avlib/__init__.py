"""Self-attention fusion for audiovisual emotion recognition with incomplete data (Chumachenko et al., ICPR 2022)."""

import os
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # the workbook: all paths start here, not at the working directory
DATA = ROOT / os.environ.get("AVLIB_DATA", "data")  # corpora and stores; ignored by git
OUTPUTS = ROOT / "outputs"  # one folder per run

__version__ = "0.1.0"

# Threads that wait for others spin only a moment before they sleep: beside other busy processes, endless spinning makes
# PyTorch many times slower (docs/speed.md). GNU's OpenMP reads this when torch is loaded; your own setting wins.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


class InputError(ValueError):
    """Wrong input by the user, in one sentence: what is wrong, where, and what would be right."""

    def _render_traceback_(self) -> list[str]:
        """The sentence alone; IPython shows it in place of a traceback."""
        return [f"InputError: {self}"]


# Loaded on first use, so that `import avlib` needs only the standard library.
_LAZY = {
    "authors_state_dict": "avlib.weights.authors",
    "build_model": "avlib.model",
    "drop_modality": "avlib.conditions",
    "FUSIONS": "avlib.fusion",
    "load_authors_checkpoint": "avlib.weights.authors",
    "load_efficientface": "avlib.weights.authors",
    "modality_dropout": "avlib.dropout",
    "load_run": "avlib.run.trained",
    "open_trained": "avlib.run.trained",
}
__all__ = ["DATA", "OUTPUTS", "ROOT", "InputError", *_LAZY]


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'avlib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
