"""The 3.6 seconds of a clip that the network gets, and constants derived from them. Imports no media library."""

from dataclasses import dataclass
from math import inf

import numpy as np

WINDOW = 3.6  # seconds (paper, section IV)
SAMPLE_RATE = 22050  # hertz
WINDOW_SAMPLES = round(WINDOW * SAMPLE_RATE)  # 79380
HOP = 512  # samples between two MFCC steps: 23.2 ms
N_MFCC = 10
MFCC_STEPS = 1 + WINDOW_SAMPLES // HOP  # 156
FULL_SPAN = (0.0, inf)  # the span of a clip in its file, in seconds, by default
AUTHORS_FPS = 30  # the authors take 3.6 s as 108 frames at any frame rate
IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".pgm")  # suffixes of still pictures
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF")  # of Pillow's; others run other programs


def colours(protocol: str) -> slice:
    """The order of the colours of faces that a network reads, from RGB, and back: protocol `authors` reverses it."""
    return slice(None, None, -1 if protocol == "authors" else 1)


@dataclass(frozen=True)
class Picture:
    """When the picture of a film begins and ends, on the file's clock."""

    seconds: float  # its end
    frame_rate: float  # frames per second
    start: float = 0.0  # seconds
    is_still: bool = False  # True = an image, which is there at any time

    def shows(self, times: np.ndarray) -> np.ndarray:
        """At which of some times (n,) there is a picture, True or False; a frame stands for the moments around it."""
        return self.is_still | (times >= self.start - 1 / self.frame_rate) & (times <= self.seconds)


@dataclass(frozen=True)
class Window:
    """The part of a clip that the network gets: the start of its sound and the times of its frames, in seconds."""

    audio_start: float
    frame_times: np.ndarray  # (frames,) ascending
    span: tuple[float, float] = FULL_SPAN  # of the clip in its file; the rest of the file belongs to other clips


def place_window(
    protocol: str, audio_samples: int, picture: Picture | None, frames: int, span: tuple[float, float] = FULL_SPAN
) -> Window:
    """The window of a clip: 3.6 s of sound, and the times of `frames` frames.

    paper : the middle 3.6 s of sound and picture; the frames are in the middle of equal parts.
    authors : the middle 3.6 s of the sound, but the first 108 frames of the picture, as in extract_faces.py, where the
              test that should skip to the middle is inverted: in long clips they are (duration - 3.6)/2 apart.

    The window of a shorter clip starts with the clip; its end is filled with zeros.

    audio_samples : at 22.05 kHz; 0 where there is no sound. picture : None where there is none.
    span : start and end of the clip in seconds of its file; protocol authors takes the whole file
    """
    if protocol == "authors":
        count = round(WINDOW * AUTHORS_FPS)
        indices = np.arange(frames) * count // frames + count // (2 * frames)
        start = max(0, audio_samples - WINDOW_SAMPLES) // 2 / SAMPLE_RATE
        picture = picture or Picture(WINDOW, AUTHORS_FPS)
        return Window(start, picture.start + indices / picture.frame_rate)
    start = span[0] + max(0.0, (duration(audio_samples, picture, span) - WINDOW) / 2)
    return Window(start, frame_times(start, frames), span)


def frame_times(start: float | np.ndarray, frames: int) -> np.ndarray:
    """The times of a window's frames in seconds, in the middle of equal parts: (frames,), or (N, frames).

    start : of the window, in seconds; of N windows, (N, 1)
    """
    return start + (np.arange(frames) + 0.5) * WINDOW / frames


def span_of(trial: dict) -> tuple[float, float]:
    """The start and end of a clip in seconds of its file, from a row of a table of trials."""
    return trial.get("start", FULL_SPAN[0]), trial.get("end", FULL_SPAN[1])


def duration(audio_samples: int, picture: Picture | None, span: tuple[float, float] = FULL_SPAN) -> float:
    """The length of a clip in seconds: the longer of its sound and its picture, inside its span."""
    longer = max(audio_samples / SAMPLE_RATE, picture.seconds if picture else 0.0)
    return max(0.0, min(longer, span[1]) - span[0])


def cut_window(samples: np.ndarray, start: float, span: tuple[float, float] = FULL_SPAN) -> np.ndarray:
    """Exactly 3.6 s (79380 samples) of a sound from `start` seconds on, zeros where there is no sound.

    start : negative = before the sound begins        span : of the clip, in seconds; outside of it are zeros
    """
    first = round(start * SAMPLE_RATE)
    begin, end = (round(min(seconds * SAMPLE_RATE, len(samples))) for seconds in span)
    part = samples[max(begin, first) : max(begin, min(end, first + WINDOW_SAMPLES))]
    before = min(max(0, begin - first), WINDOW_SAMPLES)
    return np.pad(part, (before, WINDOW_SAMPLES - before - len(part)))
