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


def path_of_run(values: dict[str, Any], usual: dict[str, Any]) -> Path:
    """The folder of a run, relative to outputs_root; `usual` has the default of each parameter."""
    system, settings = system_and_settings(values, usual)
    return Path(values["dataset"], "-".join([*system, values["dropout"], *settings]), _split(values, usual))


def system_and_settings(values: dict[str, Any], usual: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Parts of a run's name: of its system, such as ia1, dense; of all else that is no default, such as epochs20."""
    tags = tags_of(values, usual)
    system = [f"{values['fusion']}{values['heads']}", *(tags[name] for name in SYSTEM if name in tags)]
    return system, [tag for name, tag in tags.items() if name not in (*UNNAMED, *SYSTEM, *PLACED)]


def frame_network_path(values: dict[str, Any], usual: dict[str, Any], of_images: bool) -> Path:
    """The folder of a run's taught frame network, relative to outputs_root.

    of_images : True = taught on the folder of images in `pretrained`, whatever the dataset
    """
    tags = tags_of(values, usual)
    vision = f"pretrained-{_tag('vision', values['vision'])}"
    if of_images:
        settings = [_tag(name, values[name]) for name in ("pretrained", "image_size", "frame_epochs")]
        settings += [tags["class_weights"]] if "class_weights" in tags else []
        return Path("images", "-".join([vision, *settings]), f"seed{values['seed']}")
    settings = [tag for name, tag in tags.items() if name in OF_FRAMES and name not in ("vision", *PLACED)]
    return Path(values["dataset"], "-".join([vision, *settings]), _split(values, usual))


def tags_of(values: dict[str, Any], usual: dict[str, Any]) -> dict[str, str]:
    """The part of the name for each value that is not the default."""
    return {name: _tag(name, values[name]) for name in usual if str(values[name]) != str(usual[name])}


def _split(values: dict[str, Any], usual: dict[str, Any]) -> str:
    """The last part of a name, such as `fold0-seed1`."""
    scheme = "" if values["fold_scheme"] == usual["fold_scheme"] else f"{values['fold_scheme']}-"
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
