"""Teaching a frame network on single frames, before the branches and the fusion learn with it.

The paper starts from an EfficientFace that was taught on AffectNet's images. Here any frame network is taught on the
frames of a corpus, or on a folder of face images: a linear layer names what its descriptor shows.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryFile, gettempdir

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from avlib.attention import Output
from avlib.frame_networks import TimmNetwork, make_frame_network
from avlib.model import AudiovisualNet, precision
from avlib.weights import load_weights
from workbook import ROOT, InputError
from workbook.data.datasets import Corpus
from workbook.data.folds import split_rows
from workbook.data.store import Store, stamp
from workbook.data.window import IMAGE_FORMATS
from workbook.files import checksum, writing
from workbook.progress import progress_bar
from workbook.task import Classification, count_answers
from workbook.train.batches import Clips, name_actors
from workbook.train.memory import channels_last
from workbook.train.training import fit

BATCH_SIZE, LEARNING_RATE = 32, 2e-3  # frames; of Adam, falling: a constant rate leaves twice as many frames misnamed
VALIDATION = 0.1  # of the images of each class in a folder
READ_TOGETHER = 1024  # images


class FrameClassifier(nn.Module):
    """A frame network with one linear layer that names what a frame shows; arguments as in `make_frame_network`."""

    def __init__(self, vision: str, image_size: int, classes: int):
        super().__init__()
        self.frame_network, width = make_frame_network(vision, image_size)
        self.classifier = nn.Linear(width, classes)

    def forward(self, audio: torch.Tensor, video: torch.Tensor) -> Output:
        """Logits (B, classes) of clips of one frame, (B, 1, 3, S, S) in [0, 1]; a frame has no sound."""
        return Output(self.classifier(self.frame_network(video[:, 0])), {})


def frame_names(corpus: Corpus, store: Store) -> np.ndarray:
    """What each frame of a store shows, (N, F) str: as `Dataset.frame_labels` says, else the emotion of its clip.

    Raises InputError for features, which have no frames.
    """
    if store.video.ndim != 5:
        raise InputError(f"{corpus.dataset} comes as features: it has no frames to teach a frame network on")
    frames, frame_labels = store.video.shape[1], corpus.record.frame_labels
    if frame_labels:
        return frame_labels(corpus.root, store.clips, frames)
    return np.repeat(store.clips[["emotion"]].to_numpy(str), frames, axis=1)


def frame_clips(
    store: Store, names: np.ndarray, fold: int, fold_scheme: str = "paper", device: str = "cpu"
) -> dict[str, Clips]:
    """The frames of a fold's training and validation clips, {"train", "validation"}, each as a clip of one frame.

    No frame of a test actor is among them, and no black one: there the picture is missing, or has ended.

    names : (N, F) str, what each frame shows      fold, fold_scheme : as in `split_rows`
    """
    N, F = names.shape
    classes, labels = np.unique(names, return_inverse=True)
    table = store.clips.loc[np.repeat(store.clips.index, F)].assign(emotion=names.ravel())
    single = replace(store, video=store.video.reshape(N * F, 1, *store.video.shape[2:]), clips=table)
    task, labels, splits = Classification(tuple(classes)), labels.ravel(), {}
    for split in ("train", "validation"):
        clips = split_rows(store.clips, fold, fold_scheme)[split]
        rows = [row * F + np.flatnonzero(store.video[row].any(axis=(1, 2, 3))) for row in clips]
        rows = np.concatenate([np.empty(0, int), *rows])
        if not len(rows):
            raise InputError(f"fold {fold} of fold_scheme '{fold_scheme}' has no {split} frame: choose another fold")
        splits[split] = Clips(single, rows, labels[rows], task, device, ("video",))
    return splits


def image_clips(
    folder: Path, image_size: int, seed: int, device: str = "cpu", scratch: Path | None = None
) -> dict[str, Clips]:
    """The images of a folder with one subfolder per class, {"train", "validation"}, each as a clip of one frame.

    A tenth of each class, drawn by `seed`, is for validation. A folder names no people, so one may be in both.
    A folder with `train` and `test`, each with subfolders, also has the split "test", which nothing is learned from.
    The tables have a column `grey`: True = an image without colour.

    scratch : the folder of the temporary file that holds the decoded images; None is the system's
    Raises InputError where the folder holds no such images, and where an image cannot be read.
    """
    classes, table = _list_images(training_images(folder))
    held_out = table.groupby("label")["clip"].sample(frac=VALIDATION, random_state=seed).index
    if not len(held_out):
        raise InputError(f"{folder} holds {len(table)} images: a class needs at least 6, to have one for validation")
    rows = {"train": table.index.difference(held_out).to_numpy(), "validation": np.sort(held_out)}
    if training_images(folder) != folder:
        names, test = _list_images(folder / "test")
        if others := set(names) - set(classes):
            raise InputError(f"{folder / 'test'} has a class {min(others)}, of which nothing is in {folder / 'train'}")
        rows["test"] = len(table) + np.arange(len(test))
        table = pd.concat([table, test.assign(label=test["emotion"].map(classes.index))], ignore_index=True)
    video, grey = decode(table["clip"].tolist(), image_size, scratch)
    table = table.assign(actor="", has_audio=False, has_video=True, grey=grey)
    manifest = {"fingerprint": images_fingerprint(folder)}
    store = Store(folder, table, video, np.zeros((0, 1, 1), np.float32), pd.DataFrame(), manifest)
    task, labels = Classification(tuple(classes)), table["label"].to_numpy()
    return {split: Clips(store, own, labels[own], task, device, ("video",)) for split, own in rows.items()}


def training_images(folder: Path) -> Path:
    """The folder of the classes to learn: its `train` where a folder has `train` and `test`, else the folder itself."""
    has_test = all((folder / name).is_dir() for name in ("train", "test"))
    return folder / "train" if has_test else folder


def _list_images(folder: Path) -> tuple[list[str], pd.DataFrame]:
    """The classes of a folder, and its images: columns clip (the path), emotion (the class), label (its number)."""
    from torchvision.datasets import ImageFolder

    try:
        images = ImageFolder(folder)
    except FileNotFoundError as error:
        raise InputError(f"{folder} needs a subfolder of images for each class: {error}") from None
    paths, labels = zip(*images.samples, strict=True)
    names = [images.classes[label] for label in labels]
    return images.classes, pd.DataFrame({"clip": paths, "emotion": names, "label": labels})


def decode(paths: Sequence[str], image_size: int, scratch: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Image files as squares, (N, 1, S, S, 3) uint8 RGB, and whether each is grey, (N,).

    The array lies on the disk, in a temporary file of the folder `scratch`, which vanishes with the process. Raises
    InputError where an image cannot be read or the disk is full.
    """
    S, grey, scratch = image_size, [], Path(scratch or gettempdir())
    with writing(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
        with (
            TemporaryFile(dir=scratch) as file,
            ThreadPoolExecutor() as readers,
            progress_bar(len(paths), "images read", unit="image", delay=2, leave=False) as bar,
        ):
            for start in range(0, len(paths), READ_TOGETHER):
                images = np.stack([*readers.map(partial(read_image, size=S), paths[start : start + READ_TOGETHER])])
                grey.append((images == images[..., :1]).all(axis=(1, 2, 3)))
                file.write(images)
                bar.update(len(images))
            file.flush()
            return np.memmap(file, np.uint8, "r", shape=(len(paths), 1, S, S, 3)), np.concatenate(grey)


def read_image(path: str, size: int) -> np.ndarray:
    """An image file as a square, (S, S, 3) uint8 RGB; InputError where it cannot be read."""
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            return np.array(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    except Exception as error:  # torn files fail in many ways
        raise InputError(f"{path} cannot be read as an image ({error}): repair it or remove it") from None


def weigh_classes(splits: dict[str, Clips]) -> dict[str, Clips]:
    """The same frames with a loss in which every class counts alike, however few of the training frames show it."""
    task = splits["train"].task
    counts = np.bincount(splits["train"].labels.numpy(), minlength=task.outputs)
    weights = counts.sum() / (task.outputs * np.maximum(counts, 1))
    task = replace(task, weights=tuple(weights.tolist()))
    return {split: replace(clips, task=task) for split, clips in splits.items()}


def images_fingerprint(folder: Path) -> str:
    """Twelve hex digits that change with the names and the bytes of the images to learn in a folder."""
    folder = training_images(folder)
    files = [path for path in folder.glob("*/**/*") if path.is_file() and not path.name.startswith(".")]
    files.sort(key=lambda path: path.relative_to(folder).parts)  # paths of Windows compare without case
    listed = "\n".join(f"{path.relative_to(folder).as_posix()} {_checksum(path, *stamp(path))}" for path in files)
    return hashlib.sha256(listed.encode()).hexdigest()[:12]


_checksum = cache(lambda path, *stamp: checksum(path))  # once for each stamp of a file


def teach(net: FrameClassifier, clips: dict[str, Clips], folder: Path, **settings) -> Iterator[dict[str, float]]:
    """Yields a row of the history after every epoch, as `fit` does: it goes on where it was interrupted.

    The weights of the best validation epoch are kept in model.safetensors, which the parameter `pretrained` takes.
    settings : epochs, seed and progress of `fit`
    """
    settings |= {"batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE, "dropout": "none", "protocol": "falling"}
    return fit(net, clips["train"], clips["validation"], folder, share=False, **settings)


def describe_frames(splits: dict[str, Clips]) -> str:
    """Whose frames each split has; of a folder of images, how many are grey. Markdown with the numbers first."""
    tables = pd.concat([clips.table for clips in splits.values()])
    if "grey" in tables:
        grey, colour = tables["grey"].sum(), (~tables["grey"]).sum()
        return f"**{grey}** images are grey and **{colour}** in colour; the network gets three channels of each."
    counts = (f"**{len(clips)}** {split} frames of {name_actors(clips.table)}" for split, clips in splits.items())
    return f"{'; '.join(counts)}."


def count_labels(splits: dict[str, Clips]) -> pd.DataFrame:
    """How many frames of each split show what: a row per name, a column per split."""
    counts = {split: clips.table["emotion"].value_counts() for split, clips in splits.items()}
    return pd.DataFrame(counts).reindex(splits["train"].task.names).fillna(0).astype(int)


def one_of_each(clips: Clips, seed: int) -> tuple[np.ndarray, list[str]]:
    """A frame of each name, drawn at random: (K, S, S, 3) uint8 RGB, and the names."""
    order = np.random.default_rng(seed).permutation(len(clips))
    labels, first = np.unique(clips.labels.numpy()[order], return_index=True)
    frames = clips.video_of(torch.from_numpy(order[first]))[:, 0].movedim(1, -1)
    return (255 * frames).round().byte().cpu().numpy(), [clips.task.names[label] for label in labels]


def confusions_of_frames(net: FrameClassifier, splits: dict[str, Clips], weights: Path) -> dict[str, np.ndarray]:
    """By split: the numbers of frames by what they show (rows) and what the net takes them for (columns).

    weights : a model.safetensors of `teach`, which is loaded first
    A table has the shape (names, names). The training frames have none.
    """
    net.load_state_dict(load_file(weights))
    return {
        split: count_answers(clips.labels.numpy(), recognise(net, clips), clips.task.outputs)
        for split, clips in splits.items()
        if split != "train"
    }


def recalls(confusions: dict[str, np.ndarray], names: Sequence[str]) -> pd.DataFrame:
    """How many frames of each split and name are named right: columns split, name, frames, right, recall (percent).

    confusions : as in `confusions_of_frames`
    """
    tables = [
        pd.DataFrame({"split": split, "name": names, "frames": table.sum(axis=1), "right": table.diagonal()})
        for split, table in confusions.items()
    ]
    table = pd.concat(tables, ignore_index=True)
    return table.assign(recall=100 * table["right"] / table["frames"])


@torch.inference_mode()
def recognise(net: FrameClassifier, clips: Clips) -> np.ndarray:
    """The name that the net gives each frame, (N,) indices of the task's names."""
    net.to(clips.device).eval()
    answers = []
    for audio, video, _ in clips.batches(4 * BATCH_SIZE):
        with precision(clips.device):
            answers.append(net(audio, channels_last(video)).logits.argmax(dim=1).cpu())
    return torch.cat(answers).numpy()


def load_pretrained(net: AudiovisualNet, path: str | Path) -> str:
    """Loads the weights that training starts from. Returns a line with their source and the SHA-256 of the file.

    path : as in `avlib.weights.load_weights`; "" = fresh weights. A frame network of timm then loads timm's, where they
        can be fetched.
    Raises InputError, with the first mismatch, for another file.
    """
    if not path:
        frames = net.frame_network
        return frames.fetch() if isinstance(frames, TimmNetwork) else "fresh weights, from the seed"
    path = ROOT / Path(path).expanduser()
    try:
        source = load_weights(net, path)
    except ValueError as error:
        raise InputError(str(error)) from None
    return f"{source} from {path}, sha256 {checksum(path)}"
