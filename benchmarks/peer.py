"""The original code, run as it stands in a checkout of katerynaCh/multimodal-emotion-recognition.

Nothing of it is copied: its files are executed from the checkout. Only `extract_faces.py` is changed: it gets another
folder, and does not write a film of the faces, which avlib does not write either.
"""

import ast
import contextlib
import importlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn, optim

from workbook import InputError

EXTRACT = "ravdess_preprocessing/extract_faces.py"
OPENCV = "opencv-python-headless==4.10.0.84"  # 4.14 reads BT.709 as such: other boxes
NEEDED = (EXTRACT, "main.py", "model.py", "models/multimodalcnn.py", "train.py", "validation.py")
IMAGE_SIZE = 224  # pixels: the places where they cut a frame into four are fixed
MODULES = ("model", "train", "utils", "validation")  # names of theirs that are taken out of sys.modules again

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # audio (B, 10, Ta), video (B, 3, Tv, S, S), labels (B,)


class Peer:
    """A checkout of the authors' repository. Raises InputError for another folder."""

    def __init__(self, folder: Path):
        self.folder = folder.resolve()
        missing = [name for name in NEEDED if not (self.folder / name).is_file()]
        if missing:
            raise InputError(
                f"{folder} lacks {missing[0]}: --peer names a checkout of katerynaCh/multimodal-emotion-recognition"
            )

    def extract_faces(self, videos: list[Path], folder: Path) -> list[np.ndarray]:
        """The faces of each video by their preprocessing: (15, 224, 224, 3) uint8, blue, green, red.

        folder : an empty one to work in
        """
        try:
            importlib.import_module("cv2")
        except ImportError:
            raise InputError(f"the original preprocessing needs OpenCV: pip install {OPENCV}") from None
        (folder / "corpus" / "Actor").mkdir(parents=True, exist_ok=True)
        links = [folder / "corpus" / "Actor" / video.name for video in videos]
        for link, video in zip(links, videos, strict=True):
            if not link.is_symlink():
                link.symlink_to(video.resolve())
        script = ast.parse((self.folder / EXTRACT).read_text())
        settings = {"root": f"{folder / 'corpus'}/", "save_avi": False}
        for line in script.body:
            if isinstance(line, ast.Assign) and getattr(line.targets[0], "id", None) in settings:
                line.value = ast.copy_location(ast.Constant(settings[line.targets[0].id]), line.value)
        with contextlib.chdir(folder), silence():
            exec(compile(script, EXTRACT, "exec"), {"__name__": "extract_faces"})
        return [np.load(link.with_name(f"{link.stem}_facecroppad.npy")) for link in links]

    def network(self, fusion: str, classes: int, frames: int, image_size: int, device: str) -> nn.Module:
        """Their network with one head and fresh weights, made by their `generate_model`."""
        if image_size != IMAGE_SIZE:
            raise InputError(f"image_size is {image_size}: the original network reads frames of {IMAGE_SIZE} pixels")
        options = SimpleNamespace(model="multimodalcnn", n_classes=classes, fusion=fusion, num_heads=1)
        options.sample_duration, options.pretrain_path, options.device = frames, "None", device
        with self._importing(), silence():
            return importlib.import_module("model").generate_model(options)[0]

    def trainer(self, net: nn.Module, dropout: str, learning_rate: float, device: str):
        """A function that takes one training step on a batch with their loop, their optimiser as in their main.py."""
        with self._importing():
            train = importlib.import_module("train")
        sgd = optim.SGD(net.parameters(), learning_rate, momentum=0.9, dampening=0.9, weight_decay=1e-3)
        options = SimpleNamespace(device=device, mask=None if dropout == "none" else dropout, model="multimodalcnn")

        def step(batch: Batch) -> None:
            with silence():
                loss = nn.CrossEntropyLoss().to(device)
                train.train_epoch(1, [batch], net, loss, sgd, options, _NoLog(), _NoLog())

        return step

    def evaluator(self, net: nn.Module, device: str):
        """A function that evaluates batches in a condition of theirs (both, audio, video) and returns the accuracy."""
        with self._importing():
            validation = importlib.import_module("validation")
        options = SimpleNamespace(device=device, model="multimodalcnn")

        def evaluate(batches: list[Batch], kept: str) -> float:
            with silence():
                loss = nn.CrossEntropyLoss().to(device)
                return validation.val_epoch(1, batches, net, loss, options, _NoLog(), kept, "zeros")[1]

        return evaluate

    @contextlib.contextmanager
    def _importing(self) -> Iterator[None]:
        """Their modules by their short names, which are forgotten again."""
        sys.path.insert(0, str(self.folder))
        try:
            yield
        finally:
            sys.path.remove(str(self.folder))
            for name in [name for name in sys.modules if name.split(".")[0] in (*MODULES, "models")]:
                if str(self.folder) in (getattr(sys.modules[name], "__file__", None) or str(self.folder)):
                    del sys.modules[name]


def theirs(audio: torch.Tensor, video: torch.Tensor, labels: torch.Tensor) -> Batch:
    """A batch of ours, with video (B, Tv, 3, S, S), in the order of axes that their loader gives."""
    return audio, video.transpose(1, 2).contiguous(), labels


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Neither their prints nor their progress bars."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


class _NoLog:
    """Stands for their log files."""

    def log(self, values: dict) -> None:
        pass
