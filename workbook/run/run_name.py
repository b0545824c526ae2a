"""The name of a run: its system, and all other parameters that differ from the dataset's defaults.

Runs with different parameters have different names, so they never share a folder.
"""

import hashlib
import os
import re
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
WORDS = {"dense_head": "dense", "train_vision": "frozen", "balanced": "balanced"}  # for those that are true or false
WORDS |= {"class_weights": "weighted", "even_attention": "even"}
LONGEST = 24  # characters kept of the name of a file or folder


class RunName:
    """The parts of a run's name.

    values, usual : of each parameter the value and the default
    tags : for each value that is no default      system : such as ia1, dense      settings : the rest, such as epochs20
    """

    def __init__(self, values: dict[str, Any], usual: dict[str, Any]):
        self.values = values
        self.tags = {name: _tag(name, values[name]) for name in usual if str(values[name]) != str(usual[name])}
        system = [self.tags[name] for name in SYSTEM if name in self.tags]
        self.system = [f"{values['fusion']}{values['heads']}", *system]
        self.settings = [tag for name, tag in self.tags.items() if name not in (*UNNAMED, *SYSTEM, *PLACED)]

    def folder(self) -> Path:
        """The folder of the run, relative to outputs_root."""
        return self._path([*self.system, self.values["dropout"], *self.settings])

    def frame_network(self, of_images: bool) -> Path:
        """The folder of the run's taught frame network, relative to outputs_root.

        of_images : True = taught on the folder of images in `pretrained`, whatever the dataset
        """
        vision = f"pretrained-{_tag('vision', self.values['vision'])}"
        if of_images:
            settings = [_tag(name, self.values[name]) for name in ("pretrained", "image_size", "frame_epochs")]
            settings += [self.tags["class_weights"]] if "class_weights" in self.tags else []
            return Path("images", "-".join([vision, *settings]), f"seed{self.values['seed']}")
        settings = [tag for name, tag in self.tags.items() if name in OF_FRAMES and name not in ("vision", *PLACED)]
        return self._path([vision, *settings])

    def _path(self, parts: list[str]) -> Path:
        scheme = f"{self.values['fold_scheme']}-" if "fold_scheme" in self.tags else ""
        split = f"{scheme}fold{self.values['fold']}-seed{self.values['seed']}"
        return Path(self.values["dataset"], "-".join(parts), split)


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
