"""The folder of a run: its stages, its files, and whether two runs are the same; and that of a taught frame network.

pretrain.ipynb teaches the frame network, and all runs with the same frames share it: it lies beside the run folders.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from avlib.dropout import LEARNED
from workbook import InputError
from workbook.data.store import Store
from workbook.files import checksum, folder_lock, write_json, write_table
from workbook.progress import TrainingBar
from workbook.run.claim import claim
from workbook.run.parameters import Parameters
from workbook.run.record import Made, Record, as_sentence, epochs_done, now, provenance, read_record
from workbook.run.run_name import OF_FRAMES, OF_IMAGES, UNNAMED
from workbook.run.tracker import MlflowCopy
from workbook.train import pretraining
from workbook.train.batches import Clips, task_and_labels

ARTEFACTS = (  # in the order of removal: if it is interrupted, the next run finds no record and removes the rest
    *("run.json", "checkpoint.pt", "model.safetensors", "history.csv", "predictions.parquet", "metrics.json"),
    *("faithfulness.parquet", "faithfulness.json", "studies", "protocol", "protocol.csv", "figures"),
)
MAY_CHANGE = (*UNNAMED, "data_root")  # parameters that may change within a run


def network_settings(config: Parameters, store: Store) -> dict[str, Any]:
    """The arguments of `build_model` for a run: its system, in the sizes of the data."""
    frames = store.video.ndim == 5
    task, _ = task_and_labels(store, config.classes)
    return {
        "fusion": config.fusion,
        "heads": config.heads,
        "classes": task.outputs,
        "image_size": store.video.shape[2] if frames else 0,
        "dense_head": config.dense_head,
        "even_attention": config.even_attention,
        "learned_stand_ins": config.dropout in LEARNED,
        "vision": config.vision,
        "audio_channels": store.audio.shape[1],
        "video_channels": 0 if frames else store.video.shape[2],
    }


@dataclass(frozen=True)
class Run:
    """One run folder and its record."""

    folder: Path
    record: Record = field(repr=False)

    @cached_property
    def copy(self) -> MlflowCopy | None:
        """Its copy in a tracker; None for none."""
        return MlflowCopy(self.folder) if self.record.parameters["tracker"] == "mlflow" else None

    def save(self, name: str, content: Any) -> Any:
        """Writes a figure (.png), a table (.parquet or .csv) or data (.json) into the run folder, whole or not at all.

        Returns the content, so that a notebook's cell can end with it; axes come back as their figure, shown once.
        """
        if name.endswith(".png"):
            from matplotlib import pyplot

            from workbook.plots import save

            save(content, self.folder / "figures" / name)
            pyplot.close(content.figure)
            return content.figure
        write = write_json if name.endswith(".json") else write_table
        write(self.folder / name, content)
        return content

    def files(self, pattern: str = "*.*") -> list[str]:
        """The files in the run folder that fit a pattern, relative to it, but for hidden ones such as locks."""
        files = (path.relative_to(self.folder) for path in self.folder.rglob(pattern) if path.name[0] != ".")
        return sorted(map(str, files))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A block of work on this run: claims the folder, and writes state and seconds to run.json.

        name : train | evaluate | attention | faithfulness | studies | protocol
        The state is running, then done, or failed with the reason. If the block is interrupted, it stays running.
        Raises InputError where another process works on the run.
        """
        with claim(self.folder):
            saved = read_record(self.folder) or self.record  # another notebook may have changed it since
            for shared in ("seconds", "notebooks", "sweep"):
                setattr(self.record, shared, getattr(saved, shared))
            with self._record_stage(name):
                yield

    @contextmanager
    def _record_stage(self, stage: str) -> Iterator[None]:
        """Writes state and seconds of a block to run.json."""
        start, record = monotonic(), self.record
        record.state, record.stage, record.ended, record.error = "running", stage, None, None
        self.track()
        try:
            yield
        except Exception as error:
            record.state, record.ended, record.error = "failed", now(), as_sentence(error)
            raise
        else:
            record.state, record.ended = "done", now()
            if stage == "train" and epochs_done(self.folder) >= record.parameters["epochs"]:
                record.trained = now("milliseconds")
        finally:
            record.seconds[stage] = round(record.seconds.get(stage, 0) + monotonic() - start, 1)
            self.track()

    def track(self) -> None:
        """Writes run.json, and brings the copy of the run in a tracker up to date, where it has one."""
        self.record.write(self.folder)
        if self.copy:
            self.copy.update(self.record)


@contextmanager
def start_run(config: Parameters, store: Store) -> Iterator[Run]:
    """A block in which this process trains the run of these parameters, as in `Run.stage`.

    If `resume` is true and the folder holds the same run, training continues it. Otherwise the folder is cleared first.
    Raises InputError where the folder holds another run or is in use, and where training is interrupted.
    """
    folder = config.folder
    with _interruptible(folder, config.epochs), claim(folder):
        check_same_run(config, store.fingerprint)
        old = read_record(folder) if config.resume else None
        if old is None:
            _clear(folder, ARTEFACTS)  # without a record, nobody knows whose checkpoint it is
        record = Record(
            parameters=config.model_dump(mode="json"),
            network=network_settings(config, store),
            labels=list(task_and_labels(store, config.classes)[0].names),
            fingerprint=store.fingerprint,
            starts_from_sha256=_checksum_of_start(config),
            started=old.started if old else now(),
            seconds=old.seconds if old else {},
            **provenance(config.device),
        )
        run = Run(folder, record)
        with run._record_stage("train"):
            yield run


@contextmanager
def _interruptible(folder: Path, epochs: int) -> Iterator[None]:
    """A block that trains. Raises InputError where it is interrupted, with the epochs that are done."""
    try:
        yield
    except KeyboardInterrupt:
        raise InputError(f"stopped after epoch {epochs_done(folder)} of {epochs}: run it again to go on") from None


def check_same_run(config: Parameters, fingerprint: str | None = None) -> str:
    """A sentence on the run folder before training: a new run, or how many epochs are done.

    fingerprint : of the data; None = do not compare them
    Raises InputError where the folder holds another run, with the first difference.
    """
    folder = config.folder
    record = read_record(folder) if config.resume else None
    if record is None:
        return f"a new run: {folder}"
    if differs := difference(record, config, fingerprint):
        raise InputError(
            f"{folder} holds a run with {differs}: "
            "give another outputs_root to keep it, or set resume = False to start over"
        )
    done = epochs_done(folder)
    if done >= config.epochs:
        return f"already trained {done} of {config.epochs} epochs; resume = False trains it again"
    return f"trained {done} of {config.epochs} epochs so far; training goes on from there"


def difference(record: Record, config: Parameters, fingerprint: str | None) -> str:
    """The first difference of a recorded run from one of these parameters, such as `fold 0, not 1`; "" = the same.

    fingerprint : of the data; None = do not compare them
    The weights that training starts from are compared where both runs have such a file.
    """
    for name, value in config.model_dump(mode="json", exclude={*MAY_CHANGE}).items():
        if value != record.parameters[name]:
            return f"{name} {record.parameters[name]}, not {value}"
    if fingerprint not in (None, record.fingerprint):
        return f"other data (fingerprint {record.fingerprint[:12]}, not {fingerprint[:12]})"
    before, weights = record.starts_from_sha256, _checksum_of_start(config)
    if None not in (before, weights) and before != weights:
        return f"other weights (sha256 {before[:12]}, not {weights[:12]})"
    return ""


def _checksum_of_start(config: Parameters) -> str | None:
    """The SHA-256 of the file of weights that training starts from; None where there is none."""
    start = config.starts_from
    return checksum(start) if start and start.exists() else None


def _clear(folder: Path, names: tuple[str, ...]) -> None:
    """Removes files and folders in a folder, in the order of these names."""
    for path in (folder / name for name in names):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


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


def frames_to_teach(config: Parameters) -> dict[str, Clips]:
    """The frames, or images, to teach the frame network on: {"train", "validation"}, as clips of one frame.

    They are the dataset's frames unless `pretrained` is a folder of images, which may have a split "test". Raises
    InputError where there are none.
    """
    if config.images:
        scratch = config.frame_network_folder.parent
        clips = pretraining.image_clips(config.images, config.image_size, config.seed, config.device, scratch)
    elif config.starts_from and not config.teaches_frames:
        raise InputError(f"pretrained is {config.pretrained}: give frames, or a folder of face images, to teach on")
    else:
        store = config.corpus.open_store()
        names = pretraining.frame_names(config.corpus, store)
        clips = pretraining.frame_clips(store, names, config.fold, config.fold_scheme, config.device)
    return pretraining.weigh_classes(clips) if config.class_weights else clips


@contextmanager
def start_pretraining(config: Parameters, frames: dict[str, Clips]) -> Iterator[Path]:
    """A block in which this process alone teaches the frame network of a run; gives its folder.

    Waits for another process in such a block. If `resume` is true, an interrupted pretraining goes on.
    Raises InputError where the folder holds one of other data, and where pretraining is interrupted.
    """
    folder, start = config.frame_network_folder, monotonic()
    with folder_lock(folder):
        clips, names = frames["train"], OF_IMAGES if config.images else OF_FRAMES
        record = Pretraining.read(folder) if config.resume else None
        if record is None:
            _clear(folder, (Pretraining.FILE, "history.csv", "model.safetensors", "checkpoint.pt", "recalls.csv"))
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
            with _interruptible(folder, config.frame_epochs):
                yield folder
            record.sha256 = checksum(folder / "model.safetensors")
        finally:
            record.seconds = round(record.seconds + monotonic() - start, 1)
            record.write(folder)


def teach_missing(config: Parameters) -> None:
    """Teaches the frame network of a run where it is missing or unfinished, with the steps of pretrain.ipynb."""
    if not config.teaches_frames or not unfinished(config):
        return
    frames, bar = frames_to_teach(config), TrainingBar(config.frame_epochs)
    torch.manual_seed(config.seed)
    net = pretraining.FrameClassifier(config.vision, config.image_size, frames["train"].task.outputs)
    with start_pretraining(config, frames) as folder:
        settings = {"epochs": config.frame_epochs, "seed": config.seed, "progress": bar.batch}
        for row in pretraining.teach(net, frames, folder, **settings):
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
        fingerprint = pretraining.images_fingerprint(config.images)
    if fingerprint and record.fingerprint != fingerprint:
        return f"was taught on other data (fingerprint {record.fingerprint}, not {fingerprint}; add -p resume False)"
    return ""
