"""Who is speaking? A toy corpus that needs an exchange: mp4 and wav files with RAVDESS's names.

A clip shows three people in turn, each with an expression of their own. One of them is heard all the time. The emotion
of the clip is that of the speaker. Who it is must be heard (a deep, a high, a child's voice) and seen (a beard, long
red hair, large eyes). An "actor" of a file name is a cast of three people, who are in no other actor's clips.

The voice tells the kind of the speaker, and whether the emotion is a quiet or a loud one. The three faces show three of
the four emotions of that group, so a face alone is one of three answers. To know which is right, the network must
look up the expression of the person whose kind is heard. Scores that add up, one of the voice and one of the faces,
cannot do so; see `reachable`. An exchange between the branches can, with attention or without: see docs/exchanges.md.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

import workbook.toy.face as face
import workbook.toy.voice as voice
from workbook.data.datasets import read_truth
from workbook.data.ravdess import EMOTIONS
from workbook.data.window import WINDOW, frame_times
from workbook.toy.clip_files import Take, every_take, write_corpus

# The prosody of each emotion, and its expression. Voices tell two groups of four; every face is different.
LOUD = ("happy", "angry", "disgust", "surprised")
VOICE_GROUPS = {emotion: "loud" if emotion in LOUD else "soft" for emotion in EMOTIONS}
EXPRESSIONS = {
    "neutral": "rest",
    "calm": "doze",
    "sad": "droop",
    "fearful": "tense",
    "happy": "smile",
    "angry": "frown",
    "disgust": "sneer",
    "surprised": "wide",
}

VERSION = 1  # of faces and voices; a change makes another corpus
PEOPLE = 3  # in a clip, one after the other
TURN = WINDOW / PEOPLE  # seconds of each
FPS = 5  # frames per second
MAX_TAKES = 8  # two intensities, two statements, two repetitions


def reachable(classes: int = 0) -> dict[str, dict[str, float]]:
    """The best possible accuracy in percent under AV, A and V, and what is expected without an exchange.

    The voice alone leaves the four emotions of its group. The faces alone leave three. So do both without an exchange,
    where the logit of an emotion is a score of the sound plus one of the pictures, as in fusion `concat`: the lowest
    cross-entropy is where the three faces are even. This is no limit of accuracy: fitted by a clipped hinge loss to all
    balanced cases, such a sum named 62 % of them.

    classes : must be all
    """
    group = len(EMOTIONS) / len(set(VOICE_GROUPS.values()))
    best = {"AV": 100.0, "A": 100 / group, "V": 100 / PEOPLE, "without an exchange": 100 / PEOPLE}
    return {condition: {"accuracy": accuracy} for condition, accuracy in best.items()}


class Turns(NamedTuple):
    """Who is shown in a clip, in this order."""

    kinds: tuple[str, ...]  # of person
    emotions: tuple[str, ...]  # that they show
    speaker: int  # whose voice is heard, from 0


def draw_turns(emotion: str, kinds: tuple[str, ...], rng: np.random.Generator) -> Turns:
    """Three people of different kinds in random order, who show three emotions of one voice group.

    emotion : of the speaker, who is any of the three        kinds : to choose from, at least three
    """
    others = [name for name, group in VOICE_GROUPS.items() if group == VOICE_GROUPS[emotion] and name != emotion]
    emotions = [str(name) for name in rng.permutation(others)[: PEOPLE - 1]]
    speaker = int(rng.integers(PEOPLE))
    emotions.insert(speaker, emotion)
    return Turns(tuple(map(str, rng.permutation(kinds)[:PEOPLE])), tuple(emotions), speaker)


def truth_row(turns: Turns, length: float) -> dict:
    """A row of the truth without clip and actor; `length` is the length of the clip in any unit.

    As in `workbook.toy`, with emotion; kind, of the speaker; kinds and expressions, of the three people in their
    order, such as "child man woman". The face's span is the speaker's turn. The voice is the same in the entire clip.
    """
    return {
        "emotion": turns.emotions[turns.speaker],
        "kind": turns.kinds[turns.speaker],
        "kinds": " ".join(turns.kinds),
        "expressions": " ".join(EXPRESSIONS[emotion] for emotion in turns.emotions),
        "face_start": turns.speaker * length / PEOPLE,
        "face_end": (turns.speaker + 1) * length / PEOPLE,
        "voice_start": 0.0,
        "voice_end": length,
        "face_shows": True,
        "voice_shows": False,
        "duration": length,
    }


@dataclass(frozen=True)
class Clip(Take):
    """The plan of a clip."""

    turns: Turns
    fps = FPS

    def truth(self) -> dict:
        """Its row in the table of truth: see `truth_row`."""
        return truth_row(self.turns, WINDOW)

    def frames(self) -> np.ndarray:
        """The film, (N, HEIGHT, WIDTH, 3) uint8 RGB at FPS frames per second."""
        rng, strength = self.generator("face"), np.full(round(TURN * FPS), self.strength)
        turns = zip(self.turns.kinds, self.turns.emotions, strict=True)
        looks = [(face.draw_person(kind, self._person(kind)), EXPRESSIONS[emotion]) for kind, emotion in turns]
        return np.concatenate([face.film(look, face.EXPRESSIONS[name], strength, rng, FPS) for look, name in looks])

    def samples(self) -> np.ndarray:
        """The sound, float32 samples in (-1, 1) at SAMPLE_RATE: the speaker's voice all the time."""
        kind = self.turns.kinds[self.turns.speaker]
        speaker, prosody = voice.draw_person(kind, self._person(kind)), voice.PROSODIES[VOICE_GROUPS[self.emotion]]
        strength = np.full(round(WINDOW * voice.STEPS_PER_SECOND), self.strength)
        return voice.speak(speaker, prosody, strength, self.statement, self.generator("voice"))

    def _person(self, kind: str) -> np.random.Generator:
        """The random numbers of the look and of the voice of one of the cast."""
        return np.random.default_rng([self.seed, self.actor, face.KINDS.index(kind)])


def plan_corpus(seed: int, actors: int, takes: int) -> list[Clip]:
    """All clips of a corpus, by actor, emotion and take."""
    return [
        Clip(*take, draw_turns(take[2], face.KINDS, Take(*take).generator("plan")))
        for take in every_take(seed, actors, takes, MAX_TAKES)
    ]


def make_corpus(
    root: Path, seed: int = 0, actors: int = 24, takes: int = 4, workers: int | None = None, progress: bool = True
) -> None:
    """Writes the missing files of `<root>/Actor_XX/*.mp4`, `*.wav` and `<root>/truth.parquet`, as `write_corpus` does.

    The same seed gives the same clips. actors : at most 24        takes : at most 8
    """
    settings = {"corpus": "speaker", "version": VERSION, "seed": seed, "actors": actors, "takes": takes}
    write_corpus(root, plan_corpus(seed, actors, takes), settings, workers, progress)


def frame_labels(root: Path, clips: pd.DataFrame, frames: int) -> np.ndarray:
    """What each stored frame shows, (N, frames) str: the kind of person and the expression, such as "child smile".

    clips : (N,) of a store, columns clip and window_start (seconds)        frames : of a clip
    """
    truth = read_truth(root).set_index("clip").loc[clips["clip"]]
    pairs = zip(truth["kinds"].str.split(), truth["expressions"].str.split(), strict=True)
    people = np.array([[f"{kind} {name}" for kind, name in zip(*pair, strict=True)] for pair in pairs])  # (N, PEOPLE)
    times = frame_times(clips["window_start"].to_numpy()[:, None], frames)
    return np.take_along_axis(people, (times // TURN).astype(int), axis=1)
