"""The clips of a toy corpus as mp4 and wav files with RAVDESS's names: their names and their writing.

A corpus subclasses `Take`: its clips plan themselves, draw their frames and speak.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import pandas as pd
import soundfile

from workbook import InputError
from workbook.data.datasets import truth_path
from workbook.data.prepare import start_worker
from workbook.data.ravdess import EMOTIONS
from workbook.data.window import SAMPLE_RATE
from workbook.files import UNGUARDED, atomic_write, read_json, write_json, write_table
from workbook.progress import progress_bar

MAX_ACTORS = 24
STREAMS = ("plan", "face", "voice")  # of random numbers
LOOKAHEAD = 40  # frames; x264 looks ahead no farther


@dataclass(frozen=True)
class Take:
    """A clip's place in a corpus: who shows which emotion for which time.

    Subclasses implement `frames`, (N, H, W, 3) uint8 RGB at `fps` frames per second; `samples`, float32 in (-1, 1) at
    SAMPLE_RATE; and `truth`, the row of the clip in the table of truth.
    """

    seed: int
    actor: int  # 1 to 24
    emotion: str
    take: int  # from 0; up to 8 have names of their own

    @property
    def intensity(self) -> int:
        """1 normal, 2 strong."""
        return 1 + (self.take + self.take // 2 + self.take // 4) % 2

    @property
    def strength(self) -> float:
        """The strength of its expression and its prosody; 1 = as in the tables of both."""
        return {1: 0.95, 2: 1.1}[self.intensity]

    @property
    def statement(self) -> int:
        """1 = "kids are talking by the door", 2 = "dogs are sitting by the door"."""
        return 1 + self.take % 2

    @property
    def name(self) -> str:
        """The six fields after the modality, for example 01-03-01-02-01-05."""
        emotion, repetition = EMOTIONS.index(self.emotion) + 1, 1 + self.take // 2 % 2
        return "-".join(f"{n:02}" for n in (1, emotion, self.intensity, self.statement, repetition, self.actor))

    def path(self, root: Path, modality: str) -> Path:
        """The file of this clip's film (modality "mp4") or sound ("wav")."""
        return root / f"Actor_{self.actor:02}" / f"{'01' if modality == 'mp4' else '03'}-{self.name}.{modality}"

    def generator(self, stream: str) -> np.random.Generator:
        """The random numbers of one of the STREAMS of this clip, the same in every process."""
        return np.random.default_rng(
            [self.seed, self.actor, EMOTIONS.index(self.emotion), self.take, STREAMS.index(stream)]
        )

    def write(self, root: Path) -> None:
        """Writes the mp4 (H.264 and AAC) and the wav (PCM, 16 bit), each completely or not at all."""
        samples = self.samples()
        with atomic_write(self.path(root, "mp4")) as part:
            _write_mp4(str(part), self.frames(), self.fps, samples)
        with atomic_write(self.path(root, "wav")) as part:
            soundfile.write(part, samples, SAMPLE_RATE, subtype="PCM_16", format="WAV")


def every_take(seed: int, actors: int, takes: int, most: int) -> list[tuple[int, int, str, int]]:
    """The seed, actor, emotion and take of all clips of a corpus; most : takes of an emotion that have names."""
    assert 1 <= actors <= MAX_ACTORS and 1 <= takes <= most, f"names end at {MAX_ACTORS} actors and {most} takes"
    numbers = range(1, actors + 1)
    return [(seed, actor, emotion, take) for actor in numbers for emotion in EMOTIONS for take in range(takes)]


def truth_of(clips: Sequence[Take]) -> pd.DataFrame:
    """The table of truth, one row per clip: as in `workbook.toy`."""
    return pd.DataFrame({"clip": clip.name, "actor": clip.actor, **clip.truth()} for clip in clips)


def write_corpus(root: Path, clips: Sequence[Take], settings: dict, workers: int | None, progress: bool) -> None:
    """Writes the missing files of the clips below `root`, then their truth.

    settings : what distinguishes the corpus from others
    workers : processes; None = one per core. The files are the same with any number.
    Raises InputError where root holds other clips.
    """
    note = root / "corpus.json"
    if not note.exists() and not any(root.glob("Actor_*")):
        write_json(note, settings)
    elif read_json(note) != settings:
        raise InputError(f"{root} holds clips that are not this toy corpus: give an empty folder")
    missing = [clip for clip in clips if not all(clip.path(root, kind).exists() for kind in ("mp4", "wav"))]
    if missing:
        workers, context = min(workers or os.cpu_count(), len(missing)), get_context("spawn")  # forks can hang
        try:
            with (
                progress_bar(len(missing), "toy corpus", unit="clip", disable=not progress) as bar,
                ProcessPoolExecutor(workers, context, initializer=start_worker) as pool,
            ):
                for _ in pool.map(partial(Take.write, root=root), missing, chunksize=4):
                    bar.update()
        except BrokenProcessPool as error:
            raise error if bar.n else InputError(UNGUARDED) from None
    write_table(truth_path(root), truth_of(clips))


def _write_mp4(path: str, frames: np.ndarray, fps: int, samples: np.ndarray) -> None:
    with av.open(path, "w", format="mp4") as container:
        # One thread: the pool uses all cores, and the bytes must not depend on their number.
        options = {"preset": "veryfast", "crf": "20", "threads": "1"}
        if len(frames) < LOOKAHEAD:  # else x264 looks ahead into memory that it has not written
            options["x264-params"] = "mbtree=0"
        video = container.add_stream("libx264", rate=fps, options=options)
        video.height, video.width, video.pix_fmt = *frames.shape[1:3], "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", options={"aac_coder": "fast"})
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode())
        sound = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        sound.sample_rate = SAMPLE_RATE
        container.mux(audio.encode(sound))
        container.mux(audio.encode())
