"""A toy corpus with a known truth: drawn actors with synthesised voices, as mp4 and wav files with RAVDESS's names.

Some emotions look alike and others sound alike. A face or a voice alone cannot tell every emotion, but both together
can. The face of a clip shows the emotion in one interval, the voice in another. Outside of these the face rests and the
voice is neutral.
"""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

import av
import numpy as np
import pandas as pd
import soundfile

from avlib import InputError
from avlib.data.clips.window import SAMPLE_RATE, WINDOW, frame_times
from avlib.data.ravdess.trials import EMOTIONS
from avlib.data.toy.face import EXPRESSIONS, FPS, draw_look, film
from avlib.data.toy.voice import PROSODIES, STEPS_PER_SECOND, draw_voice, speak
from avlib.files import UNGUARDED
from avlib.progress import progress_bar

# The expression and the prosody of each emotion. Emotions that people confuse share one: in a face calm and neutral,
# fearful and surprised, disgust and angry; in a voice, which tells arousal better than pleasure, calm and sad, fearful
# and angry, surprised and happy. No two emotions share both.
FACE_GROUPS = {
    "neutral": "rest",
    "calm": "rest",
    "happy": "smile",
    "sad": "droop",
    "angry": "frown",
    "disgust": "frown",
    "fearful": "wide",
    "surprised": "wide",
}
VOICE_GROUPS = {
    "neutral": "plain",
    "calm": "soft",
    "sad": "soft",
    "angry": "loud",
    "fearful": "loud",
    "happy": "bright",
    "surprised": "bright",
    "disgust": "harsh",
}

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
    seen = {
        "AV": {(FACE_GROUPS[emotion], VOICE_GROUPS[emotion]) for emotion in emotions},
        "A": {VOICE_GROUPS[emotion] for emotion in emotions},
        "V": {FACE_GROUPS[emotion] for emotion in emotions},
    }
    return {condition: {"accuracy": 100 * len(groups) / len(emotions)} for condition, groups in seen.items()}


@dataclass(frozen=True)
class Clip:
    """The plan of a clip; times in seconds of the clip."""

    seed: int
    actor: int  # 1 to 24
    emotion: str
    take: int
    duration: float
    face: tuple[float, float]  # start and end of the facial cue
    voice: tuple[float, float]  # start and end of the vocal cue

    @property
    def intensity(self) -> int:
        """1 normal, 2 strong; neutral is always 1, as in RAVDESS."""
        return 1 if self.emotion == "neutral" else 1 + (self.take + self.take // 2) % 2

    @property
    def statement(self) -> int:
        """1 = "kids are talking by the door", 2 = "dogs are sitting by the door"."""
        return 1 + self.take % 2

    @property
    def name(self) -> str:
        """The six fields after the modality, for example 01-03-01-02-01-05."""
        emotion, repetition = EMOTIONS.index(self.emotion) + 1, 1 + self.take // 2
        return "-".join(f"{n:02}" for n in (1, emotion, self.intensity, self.statement, repetition, self.actor))

    def path(self, root: Path, modality: str) -> Path:
        """The file of this clip's film (modality "mp4") or sound ("wav")."""
        return root / f"Actor_{self.actor:02}" / f"{'01' if modality == 'mp4' else '03'}-{self.name}.{modality}"

    def generator(self, stream: str) -> np.random.Generator:
        """The random numbers of one stream (plan, face or voice) of this clip, the same in every process."""
        return np.random.default_rng(
            [self.seed, self.actor, EMOTIONS.index(self.emotion), self.take, ("plan", "face", "voice").index(stream)]
        )


def plan_clip(seed: int, actor: int, emotion: str, take: int) -> Clip:
    """A clip with random length and cue intervals, independent of its emotion's cues."""
    clip = Clip(seed, actor, emotion, take, 0.0, (0.0, 0.0), (0.0, 0.0))
    rng = clip.generator("plan")
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
    numbers = range(1, actors + 1)
    return [plan_clip(seed, actor, emotion, take) for actor in numbers for emotion in EMOTIONS for take in range(takes)]


def truth_of(clips: list[Clip]) -> pd.DataFrame:
    """The table of truth, one row per clip: see `truth`."""
    return pd.DataFrame(
        {
            "clip": clip.name,
            "actor": clip.actor,
            "emotion": clip.emotion,
            "face_group": FACE_GROUPS[clip.emotion],
            "voice_group": VOICE_GROUPS[clip.emotion],
            "face_start": clip.face[0],
            "face_end": clip.face[1],
            "voice_start": clip.voice[0],
            "voice_end": clip.voice[1],
            "face_shows": FACE_GROUPS[clip.emotion] != "rest",
            "voice_shows": VOICE_GROUPS[clip.emotion] != "plain",
            "duration": clip.duration,
        }
        for clip in clips
    )


def presence(interval: tuple[float, float], times: np.ndarray) -> np.ndarray:
    """The strength of a cue at each time in seconds: 0 outside of its interval, 1 inside, a ramp at both ends."""
    start, end = interval
    return np.clip(np.minimum(times - start, end - times) / RAMP, 0.0, 1.0)


def frames_of(clip: Clip) -> np.ndarray:
    """The film of a clip, (N, HEIGHT, WIDTH, 3) uint8 RGB at FPS frames per second."""
    look = draw_look(np.random.default_rng([clip.seed, clip.actor, 0]))
    shown = presence(clip.face, np.arange(round(clip.duration * FPS)) / FPS) * _strength(clip)
    return film(look, EXPRESSIONS[FACE_GROUPS[clip.emotion]], shown, clip.generator("face"))


def samples_of(clip: Clip) -> np.ndarray:
    """The sound of a clip, float32 samples in (-1, 1) at SAMPLE_RATE; even actors have the higher voices."""
    voice = draw_voice(clip.actor % 2 == 0, np.random.default_rng([clip.seed, clip.actor, 1]))
    heard = presence(clip.voice, np.arange(round(clip.duration * STEPS_PER_SECOND)) / STEPS_PER_SECOND)
    prosody = PROSODIES[VOICE_GROUPS[clip.emotion]]
    return speak(voice, prosody, heard * _strength(clip), clip.statement, clip.generator("voice"))


def _strength(clip: Clip) -> float:
    return {1: 0.95, 2: 1.1}[clip.intensity]


@contextmanager
def _whole(path: Path) -> Iterator[str]:
    """A temporary name to write to; the complete file gets its final name at the end."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # two processes never share one
    yield str(part)
    os.replace(part, path)


def write_clip(root: Path, clip: Clip) -> None:
    """Writes the mp4 (H.264 and AAC) and the wav (PCM, 16 bit) of a clip, each completely or not at all."""
    samples = samples_of(clip)
    clip.path(root, "mp4").parent.mkdir(parents=True, exist_ok=True)
    with _whole(clip.path(root, "mp4")) as part:
        _write_mp4(part, frames_of(clip), samples)
    with _whole(clip.path(root, "wav")) as part:
        soundfile.write(part, samples, SAMPLE_RATE, subtype="PCM_16", format="WAV")


def _write_mp4(path: str, frames: np.ndarray, samples: np.ndarray) -> None:
    with av.open(path, "w", format="mp4") as container:
        # One thread: the pool uses all cores, and the bytes must not depend on their number.
        options = {"preset": "veryfast", "crf": "20", "threads": "1"}
        video = container.add_stream("libx264", rate=FPS, options=options)
        video.height, video.width, video.pix_fmt = *frames.shape[1:3], "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode())
        sound = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        sound.sample_rate = SAMPLE_RATE
        container.mux(audio.encode(sound))
        container.mux(audio.encode())


def make_corpus(
    root: Path, seed: int = 0, actors: int = 24, takes: int = 2, workers: int | None = None, progress: bool = True
) -> None:
    """Writes the missing ones of `<root>/Actor_XX/*.mp4`, `*.wav` and `<root>/truth.parquet`.

    The same seed gives the same clips with any number of workers (default: one per core). Raises InputError where
    root holds another corpus, and for more than 24 actors or 4 takes.
    """
    root = Path(root)
    if not (1 <= actors <= 24 and 1 <= takes <= MAX_TAKES):
        raise InputError(f"a toy corpus has 1 to 24 actors and 1 to {MAX_TAKES} takes, not {actors} and {takes}")
    _claim(root, {"version": VERSION, "seed": seed, "actors": actors, "takes": takes})
    clips = plan_corpus(seed, actors, takes)
    missing = [clip for clip in clips if not all(clip.path(root, kind).exists() for kind in ("mp4", "wav"))]
    _write_clips(root, missing, workers or os.cpu_count(), progress)
    with _whole(root / "truth.parquet") as part:
        truth_of(clips).to_parquet(part)
    for part in root.rglob("*.part"):  # left by a run that was killed
        part.unlink(missing_ok=True)


def _claim(root: Path, settings: dict) -> None:
    """Writes the settings of the corpus to corpus.json; InputError where root holds something else."""
    note = root / "corpus.json"
    if note.exists():
        found = json.loads(note.read_text())
        if found != settings:
            raise InputError(f"{root} holds another toy corpus ({found}, not {settings}): give another folder")
        return
    if root.exists() and any(root.glob("Actor_*")):
        raise InputError(f"{root} holds clips that are not a toy corpus: give an empty folder")
    root.mkdir(parents=True, exist_ok=True)
    with _whole(note) as part:
        Path(part).write_text(json.dumps(settings))


def _write_clips(root: Path, clips: list[Clip], workers: int, progress: bool) -> None:
    """Writes the clips in one process or several; stops at the first error."""
    bar = progress_bar(len(clips), "toy corpus", unit="clip", disable=not progress or not clips)
    if workers == 1 or len(clips) < 2:
        for clip in clips:
            write_clip(root, clip)
            bar.update()
    else:
        # New processes: a fork of a process with PyTorch's threads can hang.
        context = get_context("spawn")
        try:
            with bar, ProcessPoolExecutor(min(workers, len(clips)), context, initializer=_end_with_parent) as pool:
                for _ in pool.map(write_clip, [root] * len(clips), clips, chunksize=4):
                    bar.update()
        except BrokenProcessPool as error:
            raise error if bar.n else InputError(UNGUARDED) from None
    bar.close()


def _end_with_parent() -> None:
    """Ends this worker when its parent is killed; it would wait for work forever."""
    Thread(target=lambda: (parent_process().join(), os._exit(1)), daemon=True).start()


def truth(root: Path) -> pd.DataFrame:
    """The truth of a toy corpus, one row per clip.

    clip, actor, emotion, face_group, voice_group; face_start, face_end, voice_start, voice_end and duration in seconds
    of the clip; face_shows and voice_shows: False where the cue is the resting face or the plain voice, so that nothing
    differs in its interval. Raises InputError where root holds no complete corpus.
    """
    path = Path(root) / "truth.parquet"
    if not path.exists():
        raise InputError(f"no whole toy corpus in {root}: avlib.data.toy.corpus.make_corpus(root) makes one")
    return pd.read_parquet(path)


def frame_labels(root: Path, clips: pd.DataFrame, frames: int) -> np.ndarray:
    """What each stored frame shows, (N, frames) str: a clip's expression while it is more than half there, else "rest".

    clips : (N,) of a store, columns clip and window_start (seconds)        frames : of a clip
    """
    known = truth(root).set_index("clip").loc[clips["clip"]]
    start, end, group = (known[name].to_numpy()[:, None] for name in ("face_start", "face_end", "face_group"))
    shown = presence((start, end), frame_times(clips["window_start"].to_numpy()[:, None], frames))
    return np.where(shown > 0.5, group.astype(str), "rest")
