"""Where a run's numbers come from, besides its parameters: versions, commit, device."""

import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from workbook import ROOT

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pandas", "librosa", "av", "facenet-pytorch", "papermill")


def versions() -> dict[str, str | None]:
    """The versions of Python and of libraries; None for one that is not installed."""
    numbers: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("avlib", *LIBRARIES):
        try:
            numbers[name] = version(name)
        except PackageNotFoundError:
            numbers[name] = None
    return numbers


def git_commit() -> dict[str, Any] | None:
    """The commit of the workbook, and whether its code has changes; None where it is no git checkout.

    Outputs and parameters cells of notebooks do not count as code: run.json has the parameters.
    """
    if not (ROOT / ".git").exists():  # git would also find a checkout around the workbook
        return None
    try:
        commit = _git("rev-parse", "HEAD").strip()
        changed = _git("diff", "--name-only", "--no-renames", "-z", "HEAD").split("\0")[:-1]
        dirty = any(not path.endswith(".ipynb") or _code(path) != _code(path, commit) for path in changed)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None
    return {"commit": commit, "dirty": dirty}


def _code(path: str, commit: str = "") -> list[str] | None:
    """The cells of a notebook except its parameters, now or in a commit; None where it is no notebook."""
    try:
        text = _git("show", f"{commit}:{path}") if commit else (ROOT / path).read_text(encoding="utf-8")
        cells = json.loads(text)["cells"]
        tagged = [cell for cell in cells if "parameters" not in cell["metadata"].get("tags", ())]
        return ["".join(cell["source"]) for cell in tagged]
    except (OSError, subprocess.CalledProcessError, ValueError, KeyError, TypeError):
        return None


def _git(*arguments: str) -> str:
    command = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, encoding="utf-8", check=True)
    return command.stdout


def device_name(device: str) -> str:
    """The name of the GPU, or of the processor with the number of threads that torch uses."""
    import torch

    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
