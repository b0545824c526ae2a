"""Where a run's numbers come from, besides its parameters: versions, commit, device."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from workbook import ROOT

LIBRARIES = (
    "avlib",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "pandas",
    "librosa",
    "av",
    "facenet-pytorch",
    "papermill",
)


def provenance(device: str) -> dict[str, Any]:
    """The entries of a record that say where its numbers come from."""
    return {"versions": versions(), "git": git_commit(), "device": device_name(device)}


def versions() -> dict[str, str | None]:
    """The versions of Python and of libraries; None for one that is not installed."""
    numbers: dict[str, str | None] = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            numbers[name] = version(name)
        except PackageNotFoundError:
            numbers[name] = None
    return numbers


def git_commit() -> dict[str, Any] | None:
    """The commit of the workbook, and whether its code, notebooks aside, has changes; None outside a git checkout."""
    if not (ROOT / ".git").exists():  # git would also find a checkout around the workbook
        return None
    commands = ["rev-parse", "HEAD"], ["diff", "--name-only", "HEAD", "--", ".", ":!*.ipynb"]
    try:
        git = {"text": True, "stderr": subprocess.DEVNULL}
        commit, changes = (subprocess.check_output(["git", "-C", ROOT, *command], **git) for command in commands)
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit.strip(), "dirty": bool(changes)}


def device_name(device: str) -> str:
    """The name of the GPU, or of the processor with the number of threads that torch uses."""
    import torch

    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
