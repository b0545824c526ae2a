"""Real clips to faces: avlib's worker processes beside the original script, with the same frames."""

import tempfile
import time
from multiprocessing import active_children
from pathlib import Path

import numpy as np

from benchmarks.peer import Peer
from benchmarks.timing import in_turn, memory, ratio_aims
from workbook import DATA, InputError
from workbook.data.media import open_video
from workbook.data.mtcnn import FaceDetector
from workbook.data.prepare import prepare_all
from workbook.data.window import place_window

SETTINGS = {"frames": 15, "image_size": 224, "protocol": "authors"}  # what the original script makes
AIM = 10  # times the original


def measure(options) -> dict:
    """Clips per second on both sides, memory, and how well boxes and faces agree.

    avlib's workers prepare all clips twice in a run, and the second pass counts. Libraries are loaded by then, as they
    are for the original script, whose first run does not count.
    """
    videos = find_videos(options.data_root)[: options.clips]
    ours, theirs = Side(videos, options.workers), []
    with tempfile.TemporaryDirectory() as folder:
        runs = {"avlib": ours.run}
        if options.peer:
            peer = Peer(options.peer)
            runs["original"] = lambda: theirs.append(peer.extract_faces(videos, Path(folder)))
        result = in_turn(runs, options.rounds, len(videos))
    result |= ratio_aims(result, AIM) | {"settings": SETTINGS | {"clips": len(videos), "workers": options.workers}}
    result |= {"seconds of a first pass": ours.first, "peak MB of one worker": ours.peak}
    result |= {"boxes": compare_boxes(videos)}
    return result | ({"faces": compare_faces(ours.faces, theirs[0])} if theirs else {})


def find_videos(root: Path | None) -> list[Path]:
    """The mp4 files below a folder, data/ravdess unless given. Raises InputError where there is none."""
    root = root or DATA / "ravdess"
    videos = sorted(root.rglob("*.mp4"))
    if not videos:
        raise InputError(f"there is no mp4 file below {root}: --data-root names a folder with clips")
    return videos


class Side:
    """avlib's side: a store's workers on some videos."""

    def __init__(self, videos: list[Path], workers: int):
        self.videos, self.workers = videos, workers
        self.faces: list[np.ndarray] = []
        self.first = self.peak = 0.0

    def run(self) -> float:
        """Seconds for all videos, at the rate of the second of two passes, when all workers have started."""
        trials = [{"clip": video.stem, "audio_path": "", "video_path": str(video)} for video in self.videos]
        finished, faces = [time.perf_counter()], {}
        for row, prepared in prepare_all(dict(enumerate(2 * trials)), SETTINGS, self.workers):
            finished.append(time.perf_counter())
            faces[row] = prepared.video
            self.peak = max(self.peak, *(memory("VmHWM", child.pid) for child in active_children()))
        self.faces = [faces[row] for row in range(len(trials))]
        self.first = finished[len(trials)] - finished[0]
        return finished[-1] - finished[len(trials)]


def compare_boxes(videos: list[Path]) -> dict:
    """How far avlib's boxes agree with those of facenet-pytorch's MTCNN on full frames, as intersection over union."""
    from facenet_pytorch import MTCNN
    from torch import from_numpy
    from torchvision.ops import box_iou

    ours, full, shared, missed = FaceDetector(), MTCNN(), [], 0
    for video in videos:
        film = open_video(video)
        times = place_window(SETTINGS["protocol"], 0, film.picture, SETTINGS["frames"]).frame_times
        frames = np.stack([*film.frames(times, bt601=True)])
        for frame, box in zip(frames, ours.detect(frames)[0], strict=True):
            expected, _ = full.detect(frame.copy())
            if expected is not None:
                missed += bool(np.isnan(box).any())
                shared.append(box_iou(from_numpy(box[None]), from_numpy(expected[:1].astype(np.float32))).item())
    return {"frames": len(shared), "missed": missed, "mean IoU": float(np.mean(shared)), "least IoU": min(shared)}


def compare_faces(ours: list[np.ndarray], theirs: list[np.ndarray]) -> dict:
    """The correlation of the pixels of each face with the original script's, over the frames that both show."""
    values = []
    for our, their in zip(ours, theirs, strict=True):
        shown = our.any(axis=(1, 2, 3)) & their.any(axis=(1, 2, 3))  # True = not padding
        values += [
            float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in zip(our[shown], their[shown], strict=True)
        ]
    return {"frames": len(values), "median correlation": float(np.median(values)), "least correlation": min(values)}
