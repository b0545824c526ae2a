"""A clip of any length as windows of 3.6 s that slide over it: what the network gets of each, and what was seen."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from workbook import InputError
from workbook.data.audio import channels
from workbook.data.faces import crop_face, fill_boxes, follow
from workbook.data.media import CroppedFaces, Video, check_file, open_video, read_audio
from workbook.data.prepare import Report, detector, groups, window_features
from workbook.data.window import MFCC_STEPS, WINDOW, Window, duration, place_window
from workbook.files import path_text
from workbook.progress import progress_bar

MOST = 1000  # windows; at 15 frames of 224 x 224 they take 2.3 GB


@dataclass(frozen=True)
class Windows:
    """A clip as N windows in the order of time."""

    name: str  # of its file
    seconds: float  # its length, the longer of sound and picture
    starts: np.ndarray  # (N,) of the windows, in seconds of the clip
    frame_times: np.ndarray  # (N, F) in seconds of the clip
    middle: int  # the window that a corpus's clip is cut to
    audio: np.ndarray  # features (N, C, 156) float32, zeros where a window has no sound
    video: np.ndarray  # faces (N, F, S, S, 3) uint8, zeros where a window has no face
    has_audio: np.ndarray  # (N,) True = the window has sound
    has_video: np.ndarray  # (N,) True = a face was seen in at least half of the window's frames
    seen: np.ndarray  # (N, F) True = the followed face was seen in this frame; elsewhere its nearest box was cut out
    shown: int  # the number of frames that the film has in all windows
    faces: int  # the most faces in one frame
    others: list[float]  # the seconds at which the followed face was lost and the largest one followed in its place
    notes: list[str] = field(default_factory=list)  # why it has no sound, or no picture


@contextmanager
def _one_thread() -> Iterator[None]:
    """A block, or a call, with one thread, as where a corpus is prepared: several threads would round otherwise."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


@_one_thread()
def slide(
    path: Path | str,
    *,
    frames: int,
    image_size: int,
    protocol: str = "paper",
    audio_features: str = "mfcc",
    hop: float = WINDOW / 2,
    sound: Path | str = "",
    progress: bool = False,
) -> Windows:
    """The windows of a film or a sound. The middle one is what `prepare_clip` makes of the same file.

    There are two exceptions: where the followed face is not the largest of each frame, and where a face is seen in less
    than half of the frames. `prepare_clip` takes the largest, however seldom it is seen.

    hop : seconds between two windows, at most: they are spread evenly, from the beginning of the clip to its end.
        Protocol authors shifts sound and picture of a clip, so it has the middle one alone.
    sound : the file of the sound, where it is not the film's own        frames, ..., audio_features : as `prepare_clip`
    Raises InputError where neither sound nor picture can be used, or where there are more than MOST windows.
    """
    path, sound = Path(path), Path(sound or path)
    for file in (path, sound):
        check_file(file)
    report = Report(path.name)
    samples = report.attempt("audio", path_text(sound), read_audio)
    video = report.attempt("video", path_text(path), open_video)
    length = 0 if samples is None else len(samples)
    picture = video.picture if video else None
    windows = _spread(place_window(protocol, length, picture, frames), hop if protocol == "paper" else np.inf)
    audio = _sound(report, sound, samples, windows, audio_features)
    found = None
    if video:
        with video:
            found = report.attempt("video", path_text(path), _look, video, windows, image_size, protocol, progress)
    has_audio = np.array([part is not None for part in audio])
    missing = {name for name, there in (("audio", has_audio.any()), ("video", found)) if not there}
    told = [problem["reason"] for problem in report.problems() if missing & {*problem["modality"].split(" and ")}]
    notes = list(dict.fromkeys(told))
    if len(missing) == 2:
        raise InputError("; ".join(notes))
    silence = np.zeros((channels(audio_features), MFCC_STEPS), np.float32)
    return Windows(
        name=path.name,
        seconds=duration(length, picture),
        starts=np.array([window.audio_start for window in windows]),
        frame_times=np.stack([window.frame_times for window in windows]),
        middle=len(windows) // 2,
        audio=np.stack([silence if part is None else part for part in audio]),
        has_audio=has_audio,
        **(found or _no_picture(len(windows), frames, image_size)),
        notes=notes,
    )


def _spread(window: Window, hop: float) -> list[Window]:
    """Windows from the beginning of a clip to its end, at most `hop` seconds apart; the given one is in the middle."""
    if not hop > 0:
        raise InputError(f"hop is {hop:g}; it must be a number of seconds above 0")
    around = int(np.ceil(window.audio_start / hop - 1e-9))
    if 2 * around + 1 > MOST:
        raise InputError(f"{2 * around + 1} windows are too many, {MOST} can be kept: give a larger hop than {hop:g} s")
    shifts = window.audio_start * np.linspace(-1, 1, 2 * around + 1) if around else [0.0]
    return [Window(window.audio_start + shift, window.frame_times + shift) for shift in shifts]


def _sound(
    report: Report, path: Path, samples: np.ndarray | None, windows: list[Window], name: str
) -> list[np.ndarray | None]:
    """The features (C, 156) of each window; None where it is silent or there is no sound."""
    if samples is None:
        return [None] * len(windows)
    return [report.attempt("audio", path_text(path), window_features, samples, window, name) for window in windows]


def _no_picture(count: int, frames: int, size: int) -> dict:
    """What `_look` returns of a picture that cannot be used."""
    none = np.zeros(count, bool)
    video = np.broadcast_to(np.uint8(0), (count, frames, size, size, 3))
    unseen = {"seen": np.zeros((count, frames), bool), "shown": 0, "faces": 0, "others": []}
    return {"video": video, "has_video": none, **unseen}


def _look(
    path: str, video: Video | CroppedFaces, windows: list[Window], size: int, protocol: str, progress: bool
) -> dict:
    """The faces of all windows, and what was seen: the fields of `Windows` about the picture.

    The film is read twice: all faces are found first, then the followed one is cut out.
    """
    times = np.stack([window.frame_times for window in windows])  # (N, F)
    found: dict[tuple[int, int], np.ndarray] = {}  # window and frame -> the boxes of all faces
    with progress_bar(times.size, "looking for faces", unit="frame", disable=not progress) as bar:
        for places, pictures in _pictures(video, times, protocol):
            found |= zip(places, _boxes(pictures, video.cropped), strict=True)
            bar.update(len(places))
    order = sorted(found, key=lambda place: times[place])
    followed, others = follow([found[place] for place in order], np.array([times[place] for place in order]))
    boxes = np.full((*times.shape, 4), np.nan, np.float32)
    for place, box in zip(order, followed, strict=True):
        boxes[place] = box
    seen = ~np.isnan(boxes[..., 0])
    shown = np.bincount([window for window, _ in found], minlength=len(times))  # frames of each window
    has_video = seen.sum(axis=1) >= np.maximum(1, shown / 2)
    if not has_video.any():
        found_in = f"only {seen.sum()}" if seen.any() else "none"
        frames = f"{found_in} of the {len(found)} frames of {Path(path).name}"
        raise InputError(f"{frames} show a face: turn the film upright if it lies on its side")
    faces = np.zeros((*times.shape, size, size, 3), np.uint8)
    there = {window: fill_boxes(boxes[window]) for window in np.flatnonzero(has_video)}
    for places, pictures in _pictures(video, times, protocol):
        for (window, frame), picture in zip(places, pictures, strict=True):
            if window in there:
                faces[window, frame] = crop_face(picture, there[window][frame], size)
    return {
        "video": faces[..., ::-1] if protocol == "authors" else faces,
        "has_video": has_video,
        "seen": seen,
        "shown": len(found),
        "faces": max(map(len, found.values())),
        "others": others,
    }


def _pictures(
    video: Video | CroppedFaces, times: np.ndarray, protocol: str
) -> Iterator[tuple[list[tuple[int, int]], list[np.ndarray]]]:
    """Some frames at a time, each with its place (window, frame); times (N, F) past the end of the film have none.

    Those of the middle window are read first and on their own, as `prepare_clip` reads them: a detector's boxes depend,
    in the sixth digit, on the frames that it gets together.
    """
    middle = len(times) // 2
    places = [(int(window), int(frame)) for window, frame in np.ndindex(times.shape)]
    for wanted in ([p for p in places if p[0] == middle], [p for p in places if p[0] != middle]):
        waiting = sorted(wanted, key=lambda place: times[place])
        for pictures in groups(video.frames(np.array([times[p] for p in waiting]), bt601=protocol == "authors")):
            yield waiting[: len(pictures)], pictures
            waiting = waiting[len(pictures) :]


def _boxes(pictures: list[np.ndarray], cropped: bool) -> list[np.ndarray]:
    """The boxes (k, 4) of the faces in each picture; what the authors have cropped is a face from edge to edge."""
    if cropped:
        height, width = pictures[0].shape[:2]
        return [np.array([[0, 0, width, height]], np.float32)] * len(pictures)
    return detector().detect_all(pictures)
