"""The folder of a taught frame network, beside the run folders: its record, and whether it fits a run.

pretrain.ipynb teaches it, and all runs with the same frames share it. One process at a time teaches; others wait.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from workbook import InputError
from workbook.files import checksum, folder_lock
from workbook.run.parameters import Parameters
from workbook.run.record import Made, epochs_done, provenance
from workbook.run.run_folder import clear, interruptible
from workbook.run.run_name import OF_FRAMES, OF_IMAGES

if TYPE_CHECKING:
    from workbook.train.batches import Clips


class Pretraining(Made):
    """The content of pretrained.json."""

    FILE = "pretrained.json"
    REPAIR = "delete the folder, or set resume = False"

    parameters: dict[str, str | int | float | bool]
    labels: list[str]  # what the frames show
    frames: int
    fingerprint: str  # of the data
    seconds: float = 0.0
    sha256: str | None = None  # of model.safetensors; None = not finished


def frames_to_teach(config: Parameters) -> dict[str, "Clips"]:
    """The frames, or images, to teach the frame network on: {"train", "validation"}, as clips of one frame.

    They are the dataset's frames unless `pretrained` is a folder of images, which may have a split "test". Raises
    InputError where there are none.
    """
    from workbook.train.pretraining import frame_clips, frame_names, image_clips, weigh_classes

    if config.images:
        scratch = config.frame_network_folder.parent
        clips = image_clips(config.images, config.image_size, config.seed, config.device, scratch)
    elif config.starts_from and not config.teaches_frames:
        raise InputError(f"pretrained is {config.pretrained}: give frames, or a folder of face images, to teach on")
    else:
        store = config.corpus.open_store()
        names = frame_names(config.corpus, store)
        clips = frame_clips(store, names, config.fold, config.fold_scheme, config.device)
    return weigh_classes(clips) if config.class_weights else clips


@contextmanager
def start_pretraining(config: Parameters, frames: dict[str, "Clips"]) -> Iterator[Path]:
    """A block in which this process alone teaches the frame network of a run; gives its folder.

    Waits for another process in such a block. If `resume` is true, an interrupted pretraining goes on.
    Raises InputError where the folder holds one of other data, and where pretraining is interrupted.
    """
    folder, start = config.frame_network_folder, monotonic()
    with folder_lock(folder):
        clips, names = frames["train"], OF_IMAGES if config.images else OF_FRAMES
        record = Pretraining.read(folder) if config.resume else None
        if record is None:
            clear(folder, (Pretraining.FILE, "history.csv", "model.safetensors", "checkpoint.pt", "recalls.csv"))
            record = Pretraining(
                parameters=config.model_dump(mode="json", include=set(names)),
                labels=list(clips.task.names),
                frames=len(clips),
                fingerprint=clips.store.fingerprint,
                **provenance(config.device),
            )
        elif record.fingerprint != clips.store.fingerprint:
            message = f"{folder} holds a frame network taught with other data (fingerprint {record.fingerprint})"
            raise InputError(f"{message}: give another outputs_root to keep it, or set resume = False to start over")
        try:
            record.write(folder)
            with interruptible(folder, config.frame_epochs):
                yield folder
            record.sha256 = checksum(folder / "model.safetensors")
        finally:
            record.seconds = round(record.seconds + monotonic() - start, 1)
            record.write(folder)


def teach_missing(config: Parameters) -> None:
    """Teaches the frame network of a run where it is missing or unfinished, with the steps of pretrain.ipynb."""
    import torch

    from workbook.progress import TrainingBar
    from workbook.train.pretraining import FrameClassifier, teach

    if not config.teaches_frames or not unfinished(config):
        return
    frames, bar = frames_to_teach(config), TrainingBar(config.frame_epochs)
    torch.manual_seed(config.seed)
    net = FrameClassifier(config.vision, config.image_size, frames["train"].task.outputs)
    with start_pretraining(config, frames) as folder:
        for row in teach(net, frames, folder, epochs=config.frame_epochs, seed=config.seed, progress=bar.batch):
            bar.epoch(row)


def checkpoint(config: Parameters, fingerprint: str) -> Path | str:
    """The file whose weights training starts from, "" for fresh weights.

    fingerprint : of the store that the run trains on
    Raises InputError where pretrain.ipynb has still to make it, or has made it of other data, with its command.
    """
    if config.teaches_frames and (reason := unfinished(config, fingerprint)):
        command = config.command("pretrain", (*OF_FRAMES, "pretrained", "outputs_root"))
        raise InputError(f"{config.starts_from} {reason}; make it with: {command}")
    return config.starts_from or ""


def unfinished(config: Parameters, fingerprint: str | None = None) -> str:
    """Why the frame network of a run cannot be used yet, as the end of a sentence; "" where it can.

    fingerprint : of the data; None = do not compare the data
    """
    folder = config.frame_network_folder
    record = Pretraining.read(folder)
    if not record or not (folder / "model.safetensors").exists():
        return "is missing"
    if not record.sha256:
        return f"was taught for {epochs_done(folder)} of {config.frame_epochs} epochs"
    if config.images:
        from workbook.train.pretraining import images_fingerprint

        fingerprint = images_fingerprint(config.images)
    if fingerprint and record.fingerprint != fingerprint:
        return f"was taught on other data (fingerprint {record.fingerprint}, not {fingerprint}; add -p resume False)"
    return ""
