"""Worse sound and worse pictures, in real units: noise on the waveform before the features, damage to the pixels.

Pictures are changed by torchvision's v2 transforms. The three noises are made here: libraries of augmentation
(audiomentations, torch-audiomentations) draw a level at random for training, and a test sets it.
"""

from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torchvision.transforms.v2.functional as F

from avlib.dropout import Modalities
from workbook import InputError
from workbook.data.window import SAMPLE_RATE
from workbook.evaluate.conditions import BOTH, Context
from workbook.train.batches import Clips

TALKERS = 4  # in babble
HUM, OVERTONES = 50, 6  # hertz of the mains, and how many multiples of it are heard


def white(clips: Clips, place: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Noise with the same power at all frequencies."""
    return rng.standard_normal(length)


def hum(clips: Clips, place: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """The hum of the mains: 50 Hz and its multiples up to 300 Hz, each quieter than the last, at random phases."""
    multiples = np.arange(1, OVERTONES + 1)[:, None]
    phases = rng.uniform(0, 2 * np.pi, (OVERTONES, 1))
    return (np.sin(2 * np.pi * HUM * multiples * np.arange(length) / SAMPLE_RATE + phases) / multiples).sum(axis=0)


def babble(clips: Clips, place: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Four clips of other actors at the same loudness. Raises InputError where there are no other actors."""
    table = clips.table
    others = np.flatnonzero((table["actor"] != table["actor"][place]) & table["has_audio"])
    if not len(others):
        raise InputError(f"babble needs other people's voices, and all clips are of actor {table['actor'][place]}")
    voices = [_samples(clips, int(other)) for other in rng.choice(others, TALKERS, replace=len(others) < TALKERS)]
    return sum(voice / max(np.sqrt(np.mean(voice**2)), 1e-9) for voice in voices)


NOISES = {noise.__name__: noise for noise in (white, babble, hum)}


@dataclass(frozen=True)
class Noisy:
    """Noise on the sound of each clip, before its features are computed. The file of the sound is read again.

    kind : white | babble (of other actors in these clips) | hum
    snr : the ratio of signal to noise in decibels, of the window's mean powers; a silent window stays silent
    Raises InputError in a corpus of features.
    """

    kind: str
    snr: float
    needs, removes = BOTH, ()

    @property
    def name(self) -> str:
        return f"{self.kind} noise at {self.snr:g} dB"

    def __call__(self, audio: torch.Tensor, video: torch.Tensor, context: Context) -> Modalities:
        seed = context.generator.initial_seed()
        features = [_noisy_features(context.clips, place, self, seed) for place in context.chosen.tolist()]
        return torch.from_numpy(np.stack(features)).to(audio), video

    def samples(self, clips: Clips, place: int, seed: int) -> np.ndarray:
        """The noisy samples (79380,) of the clip at `place`; a clip has the same noise at every level."""
        clean, rng = _samples(clips, place), np.random.default_rng([seed, place])
        noise = NOISES[self.kind](clips, place, len(clean), rng)
        signal, power = (np.mean(np.square(values, dtype=float)) for values in (clean, noise))
        gain = np.sqrt(signal / max(power, 1e-20) / 10 ** (self.snr / 10))
        return (clean + gain * noise).astype(np.float32)


@lru_cache(maxsize=512)  # 160 MB
def _samples(clips: Clips, place: int) -> np.ndarray:
    from workbook.data.audio import samples_of  # librosa takes a second

    return samples_of(clips.store, clips.rows[place])


@lru_cache(maxsize=8192)
def _noisy_features(clips: Clips, place: int, noisy: Noisy, seed: int) -> np.ndarray:
    """The audio features of a noisy clip; cached, because a study has the same noise with many pictures."""
    from workbook.data.audio import features_of

    return features_of(clips.store, noisy.samples(clips, place, seed))


@dataclass(frozen=True)
class Picture:
    """A change of all frames. Subclasses implement `changed`, and say in `unit` what `level` is."""

    level: float
    needs, removes, unit = BOTH, (), " %"

    @property
    def name(self) -> str:
        return f"{type(self).__name__.lower()} {self.level:g}{self.unit}"

    def __call__(self, audio: torch.Tensor, video: torch.Tensor, context: Context) -> Modalities:
        if video.ndim != 5:
            raise InputError("features have no pixels: this needs a corpus of clips")
        return audio, self.changed(video.flatten(0, 1), context.generator).view_as(video)

    @abstractmethod
    def changed(self, frames: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The changed frames, (N, 3, S, S) in [0, 1]."""


class Blurred(Picture):
    """level : standard deviation of a Gaussian, as a share of the picture's side (%)"""

    def changed(self, frames, generator):
        sigma = max(self.level / 100 * frames.shape[-1], 1e-3)
        taps = 2 * int(np.ceil(3 * sigma)) + 1
        return F.gaussian_blur(F.gaussian_blur(frames, [taps, 1], [sigma] * 2), [1, taps], [sigma] * 2)


class Dark(Picture):
    """level : share of the brightness that is gone (%)"""

    def changed(self, frames, generator):
        return F.adjust_brightness(frames, 1 - self.level / 100)


class Coarse(Picture):
    """level : pixels along a side that the picture is reduced to"""

    unit = " pixels"

    def changed(self, frames, generator):
        size = [max(1, round(self.level))] * 2
        return F.resize(F.resize(frames, size, antialias=True), [*frames.shape[-2:]], F.InterpolationMode.NEAREST)


class Covered(Picture):
    """level : share of the face (%) that is black, from below: 50 covers mouth and chin"""

    def changed(self, frames, generator):
        rows = torch.arange(frames.shape[-2], device=frames.device)
        return frames * (rows < (1 - self.level / 100) * len(rows)).to(frames)[:, None]
