"""Self-attention fusion for audiovisual emotion recognition with incomplete data (Chumachenko et al., ICPR 2022).

The paper in plain PyTorch: read attention, encoders, efficientface, fusion, dropout and model, in this order.
"""

from importlib import import_module

__version__ = "0.1.0"

# Loaded on first use, so that `import avlib` takes no time.
_LAZY = {
    "authors_state_dict": "avlib.weights",
    "build_model": "avlib.model",
    "FUSIONS": "avlib.fusion",
    "load_authors_checkpoint": "avlib.weights",
    "load_efficientface": "avlib.weights",
    "modality_dropout": "avlib.dropout",
    "Output": "avlib.attention",
}
__all__ = [*_LAZY]


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'avlib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
