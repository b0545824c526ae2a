"""A clip of any length as windows of 3.6 s that slide over it: the arrays of each, and where its face was."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image
from threadpoolctl import threadpool_limits

from workbook import InputError
from workbook.data.audio import channels
from workbook.data.faces import crop_face, fill_boxes, follow
from workbook.data.media import Film, check_file
from workbook.data.prepare import TOO_SHORT, Report, detector, groups, open_clip, window_features
from workbook.data.window import IMAGES, MFCC_STEPS, WINDOW, Window, colours
from workbook.files import path_text
from workbook.progress import progress_bar

MOST = 1000  # windows; at 15 frames of 224 x 224 they take 2.3 GB
SAMPLE = 12  # faces of a film that are turned to see whether it stands upright
UPRIGHT = 0.6  # a film is doubted if a smaller share of its faces looks upright; in upright films all did
TOLERANCE = 0.02  # of the detector's confidence
CHANGE, TIMES_USUAL = 0.11, 2.5  # from a face to the next: a share of full brightness, and in units of the median


@dataclass(frozen=True)
class Windows:
    """A clip as N windows in the order of time."""

    name: str  # of its file
    seconds: float  # its length, the longer of sound and picture
    starts: np.ndarray  # (N,) of the windows, in seconds of the clip
    frame_times: np.ndarray  # (N, F) in seconds of the clip
    audio: np.ndarray  # features (N, C, 156) float32, zeros where a window has no sound
    video: np.ndarray  # faces (N, F, S, S, 3) uint8, zeros where a window has no face
    has_audio: np.ndarray  # (N,) True = the window has sound
    has_video: np.ndarray  # (N,) True = at least half of the window's frames show the followed face
    has_face: np.ndarray  # (N, F) True = the frame shows the followed face; elsewhere its nearest box is cut out
    frames: int = 0  # the number of frames that the film has in all windows
    faces: int = 0  # the most faces in one frame
    switches: Sequence[float] = ()  # seconds at which the followed face is lost and the largest one takes its place
    notes: Sequence[str] = ()  # why it has no sound, or no picture
    protocol: str = "paper"  # authors has the colours of `video` in the order blue, green, red

    @property
    def middle(self) -> int:
        """The window that a corpus's clip is cut to."""
        return len(self.starts) // 2

    @property
    def pictures(self) -> np.ndarray:
        """The faces as a reader sees them: `video` in red, green, blue."""
        return self.video[..., colours(self.protocol)]

    def sentence(self) -> str:
        """How long the clip is, and where its windows lie."""
        starts = ", ".join(f"{start:.1f}" for start in self.starts[:8])
        more = ", …" if len(self.starts) > 8 else ""
        windows = f"{len(self.starts)} window{'s' * (len(self.starts) > 1)}"
        return f"{self.name}: {self.seconds:.1f} s; {windows}, from second {starts}{more} on"

    def remarks(self) -> list[str]:
        """Which faces and sounds the clip has, and what cannot be used, in sentences."""
        remarks = [f"{reason}." for reason in self.notes]
        if not self.has_video.any():
            return [*remarks, "There is no face to go by, so the answer comes from the sound alone."]
        if not self.has_audio.any():
            remarks.append("There is no sound to go by, so the answer comes from the picture alone.")
        several = f"up to {self.faces} at once; the largest was followed" if self.faces > 1 else "never two at once"
        remarks.append(f"A face was seen in {self.has_face.sum()} of {self.frames} frames, {several}.")
        if self.switches:
            times = ", ".join(f"{time:.1f}" for time in self.switches)
            remarks.append(f"At {times} s the followed face was lost, and the largest one was followed instead.")
        remarks += self._doubts
        if not self.has_video.all():
            windows = f"{(~self.has_video).sum()} of {len(self.starts)} windows have no answer from the picture"
            remarks.append(f"{windows}: too few of their frames show a face.")
        return remarks

    @cached_property
    def _doubts(self) -> list[str]:
        """On the followed faces in the order of time, those of overlapping windows once."""
        places = np.argwhere(self.has_face & self.has_video[:, None])
        times = self.frame_times[tuple(places.T)].round(2)
        times, first = np.unique(times, return_index=True)
        return doubts(self.pictures[tuple(places[first].T)], times)


def doubts(faces: np.ndarray, times: np.ndarray) -> list[str]:
    """What is doubtful about followed faces, in sentences: they lie, or another person takes the place of one.

    faces : (N, S, S, 3) uint8        times : (N,) seconds, ascending
    """
    sentences = []
    if len(faces) and upright_share(faces) < UPRIGHT:
        sentences.append("The faces do not look upright: turn the film, and do not believe this answer.")
    if moments := jumps(faces, times):
        listed = ", ".join(f"{moment:.1f}" for moment in moments[:5]) + (", …" if len(moments) > 5 else "")
        sentences.append(f"At {listed} s the face changes all at once: perhaps a cut, or another person.")
    return sentences


def upright_share(faces: np.ndarray) -> float:
    """The share of faces of which the detector is no less sure than of the same face turned by a quarter or a half."""
    chosen = faces[np.linspace(0, len(faces) - 1, min(SAMPLE, len(faces))).astype(int)]
    sure = np.stack([detector().confidence([np.rot90(face, turn) for face in chosen]) for turn in range(4)])
    return float((sure[0] >= sure.max(axis=0) - TOLERANCE).mean())


def jumps(faces: Sequence[np.ndarray], times: np.ndarray) -> list[float]:
    """The seconds at which a face differs from the one before far more than faces of this film usually do."""
    if len(faces) < 3:
        return []
    small = np.stack([np.asarray(Image.fromarray(face).resize((8, 8), Image.Resampling.BOX), float) for face in faces])
    steps = np.sqrt((np.diff(small / 255, axis=0) ** 2).mean(axis=(1, 2, 3)))
    return [float(time) for time in times[1:][steps > max(CHANGE, TIMES_USUAL * np.median(steps))]]


@contextmanager
def one_thread() -> Iterator[None]:
    """A block, or a call, with one thread, as where a corpus is prepared: more threads round differently."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


@one_thread()
def read_windows(
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
    """The windows of a film, a sound or an image. The middle one is what `prepare_clip` makes of the same file.

    There is one difference: `prepare_clip` takes the largest face of each frame, and one frame with a face is enough.
    Here one face is followed, and at least half of a window's frames must show it.

    hop : most seconds between two windows: they are spread evenly, from the beginning of the clip to its end.
        Protocol authors shifts sound and picture of a clip, so it has the middle window alone.
    sound : the file of the sound, where it is not the film's own        frames, ..., audio_features : as `prepare_clip`
    Raises InputError where neither sound nor picture can be used, or where there are more than MOST windows.
    """
    path, sound = Path(path), Path(sound or path)
    for file in (path, sound):
        check_file(file)
    report = Report(path.name)
    is_mute = sound == path and path.suffix.lower() in IMAGES
    sound = "" if is_mute else path_text(sound)
    samples, video, window, seconds = open_clip(report, sound, path_text(path), protocol, frames)
    windows = _spread(window, hop if protocol == "paper" else np.inf)
    audio = np.zeros((len(windows), channels(audio_features), MFCC_STEPS), np.float32)
    has_audio = np.zeros(len(windows), bool)
    for place, window in enumerate(windows if samples is not None else ()):
        features = report.attempt("audio", sound, window_features, samples, window, audio_features)
        if features is not None:
            audio[place], has_audio[place] = features, True
    picture = {  # without a face
        "video": np.broadcast_to(np.uint8(0), (len(windows), frames, image_size, image_size, 3)),
        "has_video": np.zeros(len(windows), bool),
        "has_face": np.zeros((len(windows), frames), bool),
    }
    if video:
        arguments = video, windows, image_size, protocol, progress
        picture |= report.attempt("video", path_text(path), _follow_face, *arguments) or {}
    missing = {name for name, has in {"audio": has_audio, "video": picture["has_video"]}.items() if not has.any()}
    notes = [problem["reason"] for problem in report.problems() if missing & {*problem["modality"].split(" and ")}]
    if len(missing) == 2:
        raise InputError("; ".join(dict.fromkeys(notes)))
    return Windows(
        name=path_text(path.name),
        seconds=seconds,
        starts=np.array([window.audio_start for window in windows]),
        frame_times=np.stack([window.frame_times for window in windows]),
        audio=audio,
        has_audio=has_audio,
        **picture,
        notes=[*dict.fromkeys(notes)],
        protocol=protocol,
    )


def _spread(window: Window, hop: float) -> list[Window]:
    """Windows from the beginning of a clip to its end, at most `hop` seconds apart, with `window` in the middle."""
    if not hop > 0:
        raise InputError(f"hop is {hop:g}; it must be a number of seconds above 0")
    around = int(np.ceil(window.audio_start / hop - 1e-9))
    if 2 * around + 1 > MOST:
        raise InputError(f"{2 * around + 1} windows are too many, {MOST} can be kept: give a larger hop than {hop:g} s")
    shifts = window.audio_start * np.linspace(-1, 1, 2 * around + 1) if around else [0.0]
    return [Window(window.audio_start + shift, window.frame_times + shift) for shift in shifts]


def _follow_face(path: str, video: Film, windows: list[Window], size: int, protocol: str, progress: bool) -> dict:
    """The faces of all windows and where they were: the fields of `Windows` about the picture.

    The film is read twice: once to find all faces, once to cut out the followed one.
    """
    times = np.stack([window.frame_times for window in windows])  # (N, F)
    faces: dict[tuple[int, int], np.ndarray] = {}  # window and frame -> the boxes of all faces
    with progress_bar(times.size, "looking for faces", unit="frame", disable=not progress) as bar:
        for places, pictures in _pictures(video, times, protocol):
            faces |= zip(places, detector(video.cropped).detect_all(pictures), strict=True)
            bar.update(len(places))
    if not faces:
        raise InputError(TOO_SHORT.format(Path(path).name))
    order = sorted(faces, key=lambda place: times[place])
    track, switches = follow([faces[place] for place in order], np.array([times[place] for place in order]))
    boxes = np.full((*times.shape, 4), np.nan, np.float32)
    for place, box in zip(order, track, strict=True):
        boxes[place] = box
    has_face = ~np.isnan(boxes[..., 0])
    lengths = np.bincount([window for window, _ in faces], minlength=len(times))  # frames of each window
    has_video = has_face.sum(axis=1) >= np.maximum(1, lengths / 2)
    if not has_video.any():
        frames = f"only {has_face.sum()} of the {len(faces)} frames of {Path(path).name} show a face"
        raise InputError(f"{frames}: turn the film upright if it lies on its side")
    crops = np.zeros((*times.shape, size, size, 3), np.uint8)
    filled = {window: fill_boxes(boxes[window]) for window in np.flatnonzero(has_video)}
    for places, pictures in _pictures(video, times, protocol):
        for (window, frame), picture in zip(places, pictures, strict=True):
            if window in filled:
                crops[window, frame] = crop_face(picture, filled[window][frame], size)
    return {
        "video": crops[..., colours(protocol)],
        "has_video": has_video,
        "has_face": has_face,
        "frames": len(faces),
        "faces": max(map(len, faces.values())),
        "switches": switches,
    }


def _pictures(
    video: Film, times: np.ndarray, protocol: str
) -> Iterator[tuple[list[tuple[int, int]], list[np.ndarray]]]:
    """Groups of frames, each with its places (window, frame); times (N, F) outside of the picture have none.

    The middle window is read first and on its own, as `prepare_clip` reads it: a detector's boxes depend, in the sixth
    digit, on the frames that it gets together.
    """
    middle, shows = len(times) // 2, video.picture.shows(times)
    places = [place for place in np.ndindex(times.shape) if shows[place]]
    for part in ([p for p in places if p[0] == middle], [p for p in places if p[0] != middle]):
        waiting = sorted(part, key=lambda place: times[place])
        for pictures in groups(video.frames(np.array([times[p] for p in waiting]), bt601=protocol == "authors")):
            yield waiting[: len(pictures)], pictures
            waiting = waiting[len(pictures) :]
