"""Clips, from files to arrays: a file that cannot be used becomes a problem, the rest stays.

`prepare_clip` prepares one, `prepare_all` many side by side, in processes of their own: a clip that crashes a decoder
costs only itself.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import cache
from itertools import groupby, islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

import numpy as np
import psutil
from pebble import ProcessExpired, ProcessPool
from threadpoolctl import threadpool_limits

from workbook import InputError
from workbook.data.faces import EdgeToEdge, crop_face, fill_boxes
from workbook.data.media import Film, check_file, open_video, read_audio
from workbook.data.window import FULL_SPAN, WINDOW, Window, colours, cut_window, duration, place_window, span_of
from workbook.files import UNGUARDED, checksum, path_of, path_text

SILENCE = 1e-4  # a peak below this, -80 dBFS, is no sound
SECONDS = 600  # that one clip may take; a film of seconds takes one
MEMORY = 4 * 2**30  # bytes that preparing one clip may take, with all libraries; a film of seconds takes 0.6 GB
TOO_LARGE = 98  # exit code of a process that takes more
PIXELS = 2**23  # searched for faces together, 9 bytes each: nine frames of 1280 x 720, one of 3840 x 2160

TOO_SHORT = "the picture of {} is too short: none of the sampled moments falls on it"
NO_CACHE = "librosa cannot keep its compiled code: set the environment variable NUMBA_CACHE_DIR to a folder for it"


@dataclass
class Prepared:
    """One clip as arrays, with its record and its problems."""

    record: dict  # the columns of the clip table that come from the files
    problems: list[dict]  # rows of the table of problems
    video: np.ndarray | None  # faces (frames, size, size, 3) uint8 RGB; None where the picture cannot be used
    audio: np.ndarray | None  # features (channels, 156) float32; None where the sound cannot be used

    @classmethod
    def failed(cls, trial: dict, reason: str) -> "Prepared":
        """A clip of which nothing can be used."""
        path = trial["video_path"] or trial["audio_path"]
        problem = {"clip": trial["clip"], "path": path, "modality": "audio and video", "reason": reason}
        return cls({}, [problem], None, None)


def prepare_clip(trial: dict, frames: int, image_size: int, protocol: str, audio_features: str = "mfcc") -> Prepared:
    """The arrays and the record of one trial; a file that cannot be used becomes a problem, whatever is wrong with it.

    trial : clip, video_path and audio_path ("" = none); start and end in seconds where it is a part of its file;
        cropped, True where its picture shows a face from edge to edge
    audio_features : a name of `workbook.data.audio.AUDIO_FEATURES`
    Raises InputError where a file has vanished, MemoryError where memory is short.
    """
    report = Report(trial["clip"])
    audio_path, video_path = trial["audio_path"], trial["video_path"]
    span = span_of(trial)
    samples, video, window, seconds = open_clip(report, audio_path, video_path, protocol, frames, span)
    if not seconds and (video or samples is not None):
        end = duration(0 if samples is None else len(samples), video.picture if video else None)
        return Prepared.failed(trial, f"the clip begins at {span[0]:g} s, but its files end at {end:.2f} s")
    features = picture = None
    if samples is not None:
        features = report.attempt("audio", audio_path, window_features, samples, window, audio_features)
    if video:
        is_cropped = video.cropped or trial.get("cropped", False)
        picture = report.attempt("video", video_path, _faces, video, window, image_size, protocol, is_cropped)
    faces, confidence = picture or (None, float("nan"))
    record = {
        "has_audio": features is not None,
        "has_video": faces is not None,
        "duration": seconds,
        "window_start": window.audio_start,
        "face_confidence": confidence,
        "video_sha256": sha256_of(video_path),
        "audio_sha256": sha256_of(audio_path),
    }
    return Prepared(record, report.problems(), faces, features)


def open_clip(
    report: "Report",
    audio_path: str,
    video_path: str,
    protocol: str,
    frames: int,
    span: tuple[float, float] = FULL_SPAN,
) -> tuple[np.ndarray | None, Film | None, Window, float]:
    """The samples of a clip and its picture (None for what it lacks), its window, its length in seconds."""
    samples = report.attempt("audio", audio_path, read_audio)
    video = report.attempt("video", video_path, open_video)
    picture, count = video.picture if video else None, 0 if samples is None else len(samples)
    return samples, video, place_window(protocol, count, picture, frames, span), duration(count, picture, span)


class Report:
    """The problems of one clip as they come up; one row for a file whose sound and picture fail for the same reason."""

    def __init__(self, clip: str):
        self.clip = clip
        self.modalities: dict[tuple[str, str], list[str]] = {}  # (path, reason) -> the modalities lost by it

    def attempt(self, modality: str, path: str, read: Callable, *arguments):
        """The result of `read(path, *arguments)`; None without a file, and where reading fails: then with a problem."""
        if not path:
            return None
        try:
            return read(path, *arguments)
        except MemoryError:
            raise
        except Exception as error:  # a decoder's surprise must not cost the other modality, nor the clips after this
            _refuse_vanished(path)
            if "cannot cache function" in str(error):  # numba's
                raise InputError(NO_CACHE) from None
            surprise = f"{Path(path).name} could not be read: {type(error).__name__}, {error}"
            reason = path_text(str(error) if isinstance(error, InputError) else surprise)
            self.modalities.setdefault((path, reason), []).append(modality)

    def problems(self) -> list[dict]:
        return [
            {"clip": self.clip, "path": path, "modality": " and ".join(modalities), "reason": reason}
            for (path, reason), modalities in self.modalities.items()
        ]


def _refuse_vanished(path: str) -> None:
    """Raises InputError where a file has vanished, which is no problem of the clip."""
    if not os.path.lexists(path_of(path)):
        raise InputError(f"{path} is no longer there: run it again when its disk is back")


def window_features(path: str, samples: np.ndarray, window: Window, name: str) -> np.ndarray:
    """The audio features of a clip's window, (channels, 156)."""
    from workbook.data.audio import AUDIO_FEATURES  # librosa takes a second, and a clip may have no sound

    part = cut_window(samples, window.audio_start, window.span)
    if np.abs(part).max() < SILENCE:
        raise InputError(f"{Path(path).name} is silent: nothing in its {WINDOW} s window rises above -80 dBFS")
    with np.errstate(all="ignore"):
        features = AUDIO_FEATURES[name](part)
    if not np.isfinite(features).all():
        peak = np.abs(samples).max()
        raise InputError(f"{Path(path).name} has damaged samples, up to {peak:.2g} where 1 is loud")
    return features


def _faces(
    path: str, video: Film, window: Window, size: int, protocol: str, is_cropped: bool
) -> tuple[np.ndarray, float]:
    """The faces of a clip's window, (frames, size, size, 3), and the mean confidence of the frames that show one.

    Frames before and after the picture stay zero. Protocol `authors` has BT.601 colours in the order blue, green, red.
    A frame is released once its face is cut out; one without a face waits for the boxes of the others. A still picture
    is searched once.

    is_cropped : True = its frames are faces already
    """
    times = window.frame_times
    rows = np.flatnonzero(video.picture.shows(times) & (times < window.span[1]))
    faces, boxes, sure = np.zeros((len(times), size, size, 3), np.uint8), [], []
    waiting: dict[int, np.ndarray] = {}
    moments = times[rows[:1] if video.picture.is_still else rows]
    for pictures in groups(video.frames(moments, bt601=protocol == "authors")):
        new_boxes, confidence = detector(is_cropped).detect(pictures)
        for i, (picture, box) in enumerate(zip(pictures, new_boxes, strict=True), len(boxes)):
            if np.isnan(box[0]):
                waiting[i] = picture
            else:
                faces[rows[i]] = crop_face(picture, box, size)
        boxes += [*new_boxes]
        sure += [*confidence[confidence != 0]]  # NaN stays: it is not known then
    if not boxes:
        raise InputError(TOO_SHORT.format(Path(path).name))
    if not sure:
        raise InputError(f"no face found in any of the {len(boxes)} frames of {Path(path).name}")
    filled = fill_boxes(np.stack(boxes))
    for i, picture in waiting.items():
        faces[rows[i]] = crop_face(picture, filled[i], size)
    if video.picture.is_still:
        faces[rows] = faces[rows[0]]
    return faces[..., colours(protocol)], float(np.mean(sure))


def groups(frames: Iterator[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """The frames in groups of one size, as many as PIXELS has room for, and at least one."""
    for (height, width, _), equal in groupby(frames, np.shape):
        while group := list(islice(equal, max(1, PIXELS // (height * width)))):
            yield group


@cache
def detector(is_cropped: bool = False):
    """This process's detector, on one thread: clips are prepared side by side.

    is_cropped : True = the frames are faces already, as in the authors' files: then an `EdgeToEdge`
    """
    if is_cropped:
        return EdgeToEdge()
    import torch

    from workbook.data.mtcnn import FaceDetector  # takes seconds, and a corpus may have no pictures

    torch.set_num_threads(1)
    return FaceDetector()


def sha256_of(path: str) -> str:
    """The hash of a file's bytes; "" where there is no file or it cannot be read."""
    try:
        return checksum(check_file(path)) if path else ""
    except (OSError, InputError):
        _refuse_vanished(path)
        return ""


def prepare_all(trials: dict[int, dict], settings: dict, workers: int) -> Iterator[tuple[int, Prepared]]:
    """Each row of `trials` with its prepared clip, in the order in which they finish.

    A clip that ends its process is tried twice more, alone; if that fails as well, it is a problem.

    settings : frames, image_size, protocol and audio_features of `prepare_clip`
    Raises InputError where no process can start, and as `prepare_clip` does.
    """
    remaining = trials
    for count in (workers, 1, 1):
        reasons = {}
        for row, outcome in _attempt(remaining, settings, count):
            if isinstance(outcome, Prepared):
                yield row, outcome
            else:
                reasons[row] = outcome
        remaining = {row: trials[row] for row in reasons}
    for row, reason in reasons.items():
        yield row, Prepared.failed(trials[row], f"the clip {reason}: it is left out")


def _attempt(trials: dict[int, dict], settings: dict, workers: int) -> Iterator[tuple[int, Prepared | str]]:
    """Each row of `trials` with its clip, prepared in one of `workers` processes, or why its process ended."""
    waiting, running = iter(trials.items()), {}
    # Spawned, not forked: a fork of a process with PyTorch's threads can hang.
    pool = ProcessPool(workers, initializer=start_worker, context=get_context("spawn"))
    try:
        while True:
            for row, trial in islice(waiting, 2 * workers - len(running)):
                running[pool.schedule(prepare_clip, [trial], settings, SECONDS)] = row
            if not running:
                return
            finished = wait(running, 2 * SECONDS, FIRST_COMPLETED).done
            if not finished:
                raise RuntimeError("no clip is finished, nor has any met its limit")
            for future in finished:
                yield running.pop(future), _outcome(future)
    except RuntimeError as error:  # the pool's: none of its processes has started
        raise InputError(f"{UNGUARDED}; if it does, run it again") from error
    finally:
        pool.stop()
        pool.join()


def _outcome(future: Future) -> Prepared | str:
    try:
        return future.result()
    except TimeoutError:
        return f"takes more than {SECONDS} s"
    except MemoryError:
        return "takes more memory than there is"
    except ProcessExpired as error:
        is_too_large = error.exitcode == TOO_LARGE
        return f"takes more than {MEMORY // 2**30} GB of memory" if is_too_large else "crashes the decoder"


def start_worker() -> None:
    """Keeps this process to one thread of linear algebra: the clips run side by side already."""
    threadpool_limits(1)
    Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    """Ends this process when its parent is gone, or when it takes more than MEMORY."""
    parent, process = parent_process(), psutil.Process()
    while parent.is_alive():
        if process.memory_info().rss > MEMORY:
            os._exit(TOO_LARGE)
        parent.join(timeout=0.2)
    os._exit(1)
