"""The name of a run: its system, and all other parameters that differ from the dataset's defaults.

Runs with different parameters have different names, so they never share a folder.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

UNNAMED = ("device", "resume", "tracker", "outputs_root")  # not in the name: they change no result
SYSTEM = ("dense_head", "audio_features", "vision", "train_vision")  # named with the system
PLACED = ("dataset", "fusion", "heads", "dropout", "fold_scheme", "fold", "seed")  # with fixed places in the name
OF_STORE = ("dataset", "data_root", "image_size", "frames", "audio_features", "protocol")
# What a taught frame network depends on: of a dataset's frames, and of a folder of images.
OF_FRAMES = (*OF_STORE, "fold_scheme", "fold", "vision", "frame_epochs", "class_weights", "seed")
OF_IMAGES = ("pretrained", "vision", "image_size", "frame_epochs", "class_weights", "seed")
SHORT = {"learning_rate": "lr", "batch_size": "batch", "image_size": "size"}
WORDS = {
    "dense_head": "dense",
    "train_vision": "frozen",
    "balanced": "balanced",
    "class_weights": "weighted",
    "even_attention": "even",
}  # for parameters that are true or false
LONGEST = 24  # characters kept of the name of a file or folder


@dataclass(frozen=True)
class RunName:
    """The parts of a run's name, each valid in a folder's name."""

    dataset: str
    system: tuple[str, ...]  # such as ("ia1", "dense")
    dropout: str
    settings: tuple[str, ...]  # other parameters that are not defaults, such as ("epochs20", "lr0.01")
    split: str  # such as "fold0-seed1"

    @classmethod
    def of(cls, values: dict[str, Any], usual: dict[str, Any]) -> "RunName":
        """The name of the run with these parameters; `usual` has the default of each."""
        tags = _tags(values, usual)
        return cls(
            dataset=values["dataset"],
            system=(f"{values['fusion']}{values['heads']}", *(tags[name] for name in SYSTEM if name in tags)),
            dropout=values["dropout"],
            settings=tuple(tag for name, tag in tags.items() if name not in (*UNNAMED, *SYSTEM, *PLACED)),
            split=_split(values, tags),
        )

    @property
    def path(self) -> Path:
        """The run folder, relative to outputs_root."""
        return Path(self.dataset, "-".join([*self.system, self.dropout, *self.settings]), self.split)


def frame_network_path(values: dict[str, Any], usual: dict[str, Any], of_images: bool) -> Path:
    """The folder of a run's taught frame network, relative to outputs_root.

    of_images : True = taught on the folder of images in `pretrained`, whatever the dataset
    """
    tags = _tags(values, usual)
    vision = f"pretrained-{_tag('vision', values['vision'])}"
    if of_images:
        settings = [_tag(name, values[name]) for name in ("pretrained", "image_size", "frame_epochs")]
        settings += [tags["class_weights"]] if "class_weights" in tags else []
        return Path("images", "-".join([vision, *settings]), f"seed{values['seed']}")
    settings = [tag for name, tag in tags.items() if name in OF_FRAMES and name not in ("vision", *PLACED)]
    return Path(values["dataset"], "-".join([vision, *settings]), _split(values, tags))


def _tags(values: dict[str, Any], usual: dict[str, Any]) -> dict[str, str]:
    """The part of the name for each value that is not the default."""
    return {name: _tag(name, values[name]) for name in usual if str(values[name]) != str(usual[name])}


def _split(values: dict[str, Any], tags: dict[str, str]) -> str:
    """The last part of a name, such as `fold0-seed1`."""
    scheme = f"{values['fold_scheme']}-" if "fold_scheme" in tags else ""
    return f"{scheme}fold{values['fold']}-seed{values['seed']}"


def _tag(name: str, value: Any) -> str:
    """The part of the name for a value that is not the default."""
    if name == "pretrained" and value in ("none", "frames"):
        return {"none": "fresh", "frames": "pretrained"}[value]
    if name in ("data_root", "pretrained"):
        return f"{_safe(Path(value).stem)[:LONGEST]}-{_hex(os.path.abspath(value))}"
    if name in ("audio_features", "vision", "protocol"):
        return _safe(value.removeprefix("timm:"))
    return WORDS.get(name) or f"{SHORT.get(name, name)}{_safe(str(value))}"


def _safe(text: str) -> str:
    """The text, if it is a valid name in every file system; otherwise a unique valid name."""
    name = re.sub(r"[^\w.+-]", "_", text, flags=re.ASCII)
    return name if name == text else f"{name}-{_hex(text)}"


def _hex(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:4]
