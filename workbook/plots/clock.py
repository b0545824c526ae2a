"""Time axes: seconds of the window, or, for features without seconds, the place in the clip."""

from dataclasses import dataclass

import numpy as np

from workbook.data.window import WINDOW


@dataclass(frozen=True)
class Clock:
    """A time axis from 0 to `length`."""

    length: float
    label: str  # of the axis
    unit: str  # in brackets behind a name
    words: str  # behind a number

    def at(self, time: float) -> str:
        """A time in words, such as `1.74 s` or `0.29 of the clip`."""
        return f"{time:.2f} {self.words}"


SECONDS = Clock(WINDOW, "time (s)", "s", "s")  # of the window, in clips
PLACE = Clock(1.0, "place in the clip", "place", "of the clip")  # in features, whose steps have no seconds


def clock_of(clips) -> Clock:
    """The time axis of these clips: seconds, or places in a clip of features."""
    return SECONDS if clips.has_frames else PLACE


def even_times(steps: int, clock: Clock = SECONDS) -> np.ndarray:
    """The centres (steps,) of steps that share the clip evenly."""
    return (np.arange(steps) + 0.5) * clock.length / steps


def time_span(times: np.ndarray, clock: Clock = SECONDS) -> tuple[float, float, float]:
    """Left edge, right edge and width of one step of evenly spread step centres; a single step fills the clip."""
    step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else clock.length
    return times[0] - step / 2, times[-1] + step / 2, step
