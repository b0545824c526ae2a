"""A toy corpus with a known truth: drawn actors with synthesised voices, as mp4 and wav files with RAVDESS's names.

Some emotions look alike and others sound alike. A face or a voice alone cannot tell every emotion, but both together
can. The face of a clip shows the emotion in one interval, the voice in another. Outside of these the face rests and the
voice is neutral.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workbook.data.datasets import read_truth
from workbook.data.ravdess import EMOTIONS
from workbook.data.window import WINDOW, frame_times
from workbook.toy.clip_files import Take, every_take, write_corpus
from workbook.toy.face import EXPRESSIONS, FPS, Look, film
from workbook.toy.voice import PROSODIES, STEPS_PER_SECOND, Voice, speak

# The expression and the prosody of each emotion. Emotions that people confuse share one: in a face calm and neutral,
# fearful and surprised, disgust and angry; in a voice, which tells arousal better than pleasure, calm and sad, fearful
# and angry, surprised and happy. No two emotions share both.
CUES = {
    "neutral": ("rest", "plain"),
    "calm": ("rest", "soft"),
    "happy": ("smile", "bright"),
    "sad": ("droop", "soft"),
    "angry": ("frown", "loud"),
    "fearful": ("wide", "loud"),
    "disgust": ("frown", "harsh"),
    "surprised": ("wide", "bright"),
}
FACE_GROUPS, VOICE_GROUPS = ({emotion: cues[side] for emotion, cues in CUES.items()} for side in (0, 1))

VERSION = 2  # of faces and voices; a change makes another corpus
MAX_TAKES = 4  # neutral has two statements, two repetitions and one intensity
FRAMES = (45, 70)  # shortest and longest clip in frames: 3.0 to 4.6 s at 15 frames per second
CUE = (1.4, 2.2)  # shortest and longest cue in seconds
EDGE = 0.1  # seconds between a cue and the ends of the window
RAMP = 0.12  # seconds in which a cue appears or disappears


def reachable(classes: int = 0) -> dict[str, dict[str, float]]:
    """The best possible accuracy in percent under AV, A and V, with equally many clips of each emotion.

    Emotions of one group look (or sound) alike, so only one of a group can be right.

    classes : the number of emotions, from the last of EMOTIONS; 0 = all
    """
    emotions = EMOTIONS[-classes:]
    groups = {
        "AV": {CUES[emotion] for emotion in emotions},
        "A": {VOICE_GROUPS[emotion] for emotion in emotions},
        "V": {FACE_GROUPS[emotion] for emotion in emotions},
    }
    return {condition: {"accuracy": 100 * len(names) / len(emotions)} for condition, names in groups.items()}


@dataclass(frozen=True)
class Clip(Take):
    """The plan of a clip; times in seconds of the clip."""

    duration: float
    face: tuple[float, float]  # start and end of the facial cue
    voice: tuple[float, float]  # start and end of the vocal cue
    fps = FPS

    @property
    def intensity(self) -> int:
        """1 normal, 2 strong; neutral is always 1, as in RAVDESS."""
        return 1 if self.emotion == "neutral" else super().intensity

    def truth(self) -> dict:
        """Its row in the table of truth, with emotion, face_group and voice_group.

        face_shows and voice_shows are False where the cue is the resting face or the plain voice.
        """
        face_group, voice_group = CUES[self.emotion]
        return {
            "emotion": self.emotion,
            "face_group": face_group,
            "voice_group": voice_group,
            "face_start": self.face[0],
            "face_end": self.face[1],
            "voice_start": self.voice[0],
            "voice_end": self.voice[1],
            "face_shows": face_group != "rest",
            "voice_shows": voice_group != "plain",
            "duration": self.duration,
        }

    def frames(self) -> np.ndarray:
        """The film, (N, HEIGHT, WIDTH, 3) uint8 RGB at FPS frames per second."""
        look = Look(np.random.default_rng([self.seed, self.actor, 0]))
        strength = presence(self.face, np.arange(round(self.duration * FPS)) / FPS) * self.strength
        return film(look, EXPRESSIONS[FACE_GROUPS[self.emotion]], strength, self.generator("face"))

    def samples(self) -> np.ndarray:
        """The sound, float32 samples in (-1, 1) at SAMPLE_RATE; even actors have the higher voices."""
        voice = Voice(self.actor % 2 == 0, np.random.default_rng([self.seed, self.actor, 1]))
        times = np.arange(round(self.duration * STEPS_PER_SECOND)) / STEPS_PER_SECOND
        prosody, strength = PROSODIES[VOICE_GROUPS[self.emotion]], presence(self.voice, times) * self.strength
        return speak(voice, prosody, strength, self.statement, self.generator("voice"))


def plan_clip(seed: int, actor: int, emotion: str, take: int) -> Clip:
    """A clip with random length and cue intervals, independent of its emotion's cues."""
    rng = Take(seed, actor, emotion, take).generator("plan")
    duration = int(rng.integers(*FRAMES)) / FPS
    return Clip(seed, actor, emotion, take, duration, _interval(duration, rng), _interval(duration, rng))


def _interval(duration: float, rng: np.random.Generator) -> tuple[float, float]:
    """Start and end of a cue in seconds, inside the clip and its central window."""
    first = max(0.0, (duration - WINDOW) / 2) + EDGE
    last = min(duration, (duration + WINDOW) / 2) - EDGE
    length = rng.uniform(*CUE)
    start = rng.uniform(first, last - length)
    return round(start, 3), round(start + length, 3)


def plan_corpus(seed: int, actors: int, takes: int) -> list[Clip]:
    """All clips of a corpus, by actor, emotion and take."""
    return [plan_clip(*take) for take in every_take(seed, actors, takes, MAX_TAKES)]


def presence(interval: tuple[float, float], times: np.ndarray) -> np.ndarray:
    """The strength of a cue at each time in seconds: 0 outside of its interval, 1 inside, a ramp at both ends."""
    start, end = interval
    return np.clip(np.minimum(times - start, end - times) / RAMP, 0.0, 1.0)


def make_corpus(
    root: Path, seed: int = 0, actors: int = 24, takes: int = 2, workers: int | None = None, progress: bool = True
) -> None:
    """Writes the missing files of `<root>/Actor_XX/*.mp4`, `*.wav` and `<root>/truth.parquet`, as `write_corpus` does.

    The same seed gives the same clips. actors : at most 24        takes : at most 4
    """
    settings = {"version": VERSION, "seed": seed, "actors": actors, "takes": takes}
    write_corpus(root, plan_corpus(seed, actors, takes), settings, workers, progress)


def frame_labels(root: Path, clips: pd.DataFrame, frames: int) -> np.ndarray:
    """What each stored frame shows, (N, frames) str: a clip's expression while it is more than half there, else "rest".

    clips : (N,) of a store, columns clip and window_start (seconds)        frames : of a clip
    """
    truth = read_truth(root).set_index("clip").loc[clips["clip"]]
    start, end, group = (truth[name].to_numpy()[:, None] for name in ("face_start", "face_end", "face_group"))
    strength = presence((start, end), frame_times(clips["window_start"].to_numpy()[:, None], frames))
    return np.where(strength > 0.5, group.astype(str), "rest")
