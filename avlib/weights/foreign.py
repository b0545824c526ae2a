"""Other people's files of weights: read without executing their code, and compared with what is expected."""

import re
from pathlib import Path

import torch
from safetensors.torch import load_file

from workbook import ROOT, InputError

Weights = dict[str, torch.Tensor]

# Objects that may stand beside the weights: the meter of EfficientFace's training script, and its numpy arrays.
BESIDE = (
    "__main__.RecorderMeter",
    "__main__.RecorderMeter1",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    "numpy.ndarray",
    "numpy.dtype",
)


class Ignored:
    """Replaces an object beside the weights: takes any arguments and any state, and keeps nothing."""

    def __new__(cls, *_):
        return super().__new__(cls)

    def __setstate__(self, _):
        pass


def read_weights(path: str | Path) -> tuple[Path, Weights]:
    """The absolute path of a file of weights, and its weights by name, without `module.` before the names.

    The file is a .safetensors, or it is by torch.save and holds a state dict, or a dict with one under `state_dict`.
    Code in it is never executed.
    Raises InputError where the file is missing, damaged, or holds anything else.
    """
    path = ROOT / Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"{path} is no file; a relative path starts at {ROOT}")
    try:
        if path.suffix == ".safetensors":
            return path, load_file(path)
        with torch.serialization.safe_globals([(Ignored, name) for name in BESIDE]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        what = f"holds {foreign[1]}, which is no weight" if foreign else "is damaged or no checkpoint by torch.save"
        raise InputError(f"{path} {what}; nothing in it was executed") from None
    weights = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(weights, dict) or not weights:
        raise InputError(f"{path} holds no state dict, but a {type(weights).__name__} of another kind")
    for name, weight in weights.items():
        if not torch.is_tensor(weight):
            raise InputError(f"{path} holds no state dict: its '{name}' is a {type(weight).__name__}, not a tensor")
    return path, {str(name).removeprefix("module."): weight for name, weight in weights.items()}


def check_weights(path: Path, theirs: Weights, expected: Weights, whose: str) -> None:
    """Raises InputError with the first name or shape that differs from the expected one."""
    for name, weight in expected.items():
        if name not in theirs:
            raise InputError(f"{path} is not of {whose}: it lacks '{name}'")
        if theirs[name].shape != weight.shape:
            shapes = f"{tuple(theirs[name].shape)}, not {tuple(weight.shape)}"
            raise InputError(f"{path} is not of {whose}: its '{name}' is {shapes}")
    for name in theirs:
        if name not in expected:
            raise InputError(f"{path} is not of {whose}: it has '{name}'")
