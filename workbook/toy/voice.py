"""Synthesised voices for the toy corpus: glottal pulses and breath, filtered by the resonances of a vocal tract."""

from dataclasses import asdict, dataclass

import numpy as np
from scipy.signal import lfilter, sosfilt

from workbook.data.window import SAMPLE_RATE

STEP = 210  # samples between two settings of the tract: 9.5 ms
STEPS_PER_SECOND = SAMPLE_RATE / STEP  # 105


@dataclass(frozen=True)
class Prosody:
    """The changes to the actor's neutral voice; 0 = neutral."""

    pitch: float = 0.0  # semitones
    melody: float = 0.0  # semitones by which the pitch swings within a syllable; positive: it rises
    loudness: float = 0.0  # dB
    rate: float = 0.0  # share added to the syllables per second
    dull: float = 0.0  # share of the source without its upper harmonics, added to the actor's
    breath: float = 0.0  # noise added to the pulses
    tract: float = 0.0  # share added to the resonances: spread lips raise them, a lowered larynx lowers them
    open: float = 0.0  # share added to the first resonance alone: a wide jaw
    rough: float = 0.0  # every second pulse weakened by this share: creak
    tremor: float = 0.0  # depth of a wavering loudness, 0 to 1


PROSODIES = {
    "plain": Prosody(),
    "soft": Prosody(pitch=-4, loudness=-15, rate=-0.3, dull=0.6, breath=0.45),
    "loud": Prosody(pitch=4, melody=-3, loudness=8, rate=0.25, dull=-0.45, open=0.25, tremor=0.5),
    "bright": Prosody(pitch=8, melody=7, loudness=3, rate=0.1, dull=-0.1, tract=0.16),
    "harsh": Prosody(pitch=-4, loudness=3, rate=-0.3, dull=-0.3, tract=-0.16, rough=0.85),
}

# The first two resonances of a vowel in hertz, for an average adult.
VOWELS = {
    "i": (300, 2300),
    "e": (430, 2000),
    "ae": (650, 1750),
    "a": (740, 1200),
    "o": (500, 900),
    "u": (330, 950),
    "er": (480, 1350),
}
UPPER = np.array([2650.0, 3500.0, 4500.0])  # the resonances above, hertz
BANDWIDTHS = np.array([70.0, 95.0, 140.0, 200.0, 280.0])
# Kids are talking by the door; dogs are sitting by the door. Repeated as long as the clip lasts.
STATEMENTS = {1: ("i", "a", "o", "i", "ae", "er", "o"), 2: ("o", "a", "i", "e", "ae", "er", "o")}
TREMOR = 8.0  # hertz


class Voice:
    """An actor's voice, drawn at random from the higher or the lower half, the same in all clips."""

    def __init__(self, is_high: bool, rng: np.random.Generator):
        self.pitch = rng.uniform(175, 230) if is_high else rng.uniform(95, 135)  # hertz
        # Factor on all resonances: above 1 for a short tract.
        self.tract = rng.uniform(1.06, 1.14) if is_high else rng.uniform(0.95, 1.03)
        self.rate = rng.uniform(4.2, 5.2)  # syllables per second
        self.dull = rng.uniform(0.42, 0.52)  # share of the source without its upper harmonics, 0 to 1
        self.breath = rng.uniform(0.01, 0.03)
        self.melody = rng.uniform(0.8, 2.0)  # semitones of the accents


KINDS = {  # pitch in hertz and factor on all resonances, lowest and highest
    "man": ((85, 110), (0.90, 0.96)),
    "woman": ((180, 220), (1.09, 1.15)),
    "child": ((300, 350), (1.32, 1.40)),
}


def draw_person(kind: str, rng: np.random.Generator) -> Voice:
    """A random voice of one of KINDS."""
    voice = Voice(False, rng)
    voice.pitch, voice.tract = (rng.uniform(*limits) for limits in KINDS[kind])
    return voice


def speak(voice: Voice, prosody: Prosody, presence: np.ndarray, statement: int, rng: np.random.Generator) -> np.ndarray:
    """An actor's speech, float32 samples (len(presence) * STEP,) in (-1, 1) at SAMPLE_RATE.

    presence : (T,) strength of the prosody at each step of STEP samples; 0 = the actor's neutral voice
    statement : 1 or 2, a key of STATEMENTS
    The recording's loudness, the room's noise and the timing of syllables come from `rng`, not from the prosody.
    """
    changes = {name: value * presence for name, value in asdict(prosody).items()}
    gain, floor = 10 ** (rng.uniform(-2.5, 2.5) / 20), 10 ** (rng.uniform(-68, -60) / 20)
    syllable, phase = _syllables(voice, changes["rate"], rng)
    pitch = _pitch(voice, changes, syllable, phase, rng)
    source, hiss = _source(voice, changes, pitch, rng)
    loud = _loudness(changes, phase, len(presence))
    speech = _tract(source * _samples(loud), _resonances(voice, changes, statement, syllable))
    burst = _samples(np.clip(1 - np.abs(phase - 0.08) / 0.08, 0, 1) * 10 ** (changes["loudness"] / 20))
    consonants = np.diff(hiss, prepend=0) * burst * 0.006
    return np.tanh(gain * (0.15 * speech + consonants) + floor * rng.standard_normal(len(speech))).astype(np.float32)


def _samples(track: np.ndarray) -> np.ndarray:
    """A track with one value per step (T,), interpolated to samples (T * STEP,)."""
    return np.interp(np.arange(len(track) * STEP) / STEP, np.arange(len(track)), track)


def _glide(track: np.ndarray, steps: int) -> np.ndarray:
    """A track (T,) whose jumps take some steps, and never start early."""
    return np.convolve(np.pad(track, (steps - 1, 0), "edge"), np.ones(steps) / steps, "valid")


def _syllables(voice: Voice, faster: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The number of the syllable (T,) and its elapsed share (T,) in [0, 1)."""
    rate = voice.rate * rng.uniform(0.92, 1.08)
    clock = rng.uniform(0, 1) + np.cumsum(rate * (1 + faster)) / STEPS_PER_SECOND
    count = int(2 * rate * len(faster) / STEPS_PER_SECOND) + 3
    starts = np.cumsum(np.concatenate([[0.0], rng.uniform(0.75, 1.25, count)]))
    syllable = np.searchsorted(starts, clock, side="right") - 1
    return syllable, (clock - starts[syllable]) / np.diff(starts)[syllable]


def _pitch(
    voice: Voice, changes: dict, syllable: np.ndarray, phase: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Fundamental frequency (T,) in hertz: the actor's, with accents on syllables, a slow fall and the prosody."""
    accents = voice.melody * rng.uniform(-1, 1, 128)[syllable] * np.sin(np.pi * phase)
    swing = changes["melody"] * _glide(phase - 0.5, 5)
    semitones = _glide(accents, 5) + np.linspace(1, -1, len(phase)) + changes["pitch"] + swing
    return voice.pitch * 2 ** (semitones / 12)


def _source(voice: Voice, changes: dict, pitch: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The source that drives the tract, and plain noise for the consonants, both (T * STEP,).

    The pulses are the derivative of a glottal flow that is open for 60 % of a period (Klatt and Klatt, 1990).
    """
    turns = np.cumsum(_samples(pitch)) / SAMPLE_RATE
    share = turns % 1 / 0.6
    pulses = np.where(share < 1, 2 * share - 3 * share**2, 0.0)
    pulses *= 1 - _samples(changes["rough"]) * (turns.astype(int) % 2)
    rounded = lfilter([0.09], [1, -0.91], pulses) * 1.6  # one pole at about 330 Hz
    dull = _samples(np.clip(voice.dull + changes["dull"], 0, 1))
    hiss = rng.standard_normal(len(pulses))
    breath = _samples(voice.breath + changes["breath"]) * hiss * np.where(share < 1, 1.0, 0.4)
    return (1 - dull) * pulses + dull * rounded + breath, hiss


def _loudness(changes: dict, phase: np.ndarray, n: int) -> np.ndarray:
    """Amplitude (T,): a rise and fall for each syllable, the prosody's level and its tremor."""
    envelope = 0.06 + 0.94 * np.clip(np.sin(np.pi * np.clip((phase - 0.12) / 0.88, 0, 1)), 0, 1) ** 0.6
    waver = 1 - changes["tremor"] * (0.5 + 0.5 * np.sin(2 * np.pi * TREMOR * np.arange(n) / STEPS_PER_SECOND))
    return envelope * waver * 10 ** (changes["loudness"] / 20)


def _resonances(voice: Voice, changes: dict, statement: int, syllable: np.ndarray) -> np.ndarray:
    """Resonances of the tract (T, 5) in hertz, gliding from vowel to vowel."""
    vowels = np.array([VOWELS[name] for name in STATEMENTS[statement]], float)
    lower = np.stack([_glide(track, 9) for track in vowels[syllable % len(vowels)].T], axis=1)
    lower[:, 0] *= 1 + changes["open"]
    tract = np.concatenate([lower, np.tile(UPPER, (len(syllable), 1))], axis=1)
    return np.minimum(tract * (voice.tract * (1 + changes["tract"]))[:, None], 0.45 * SAMPLE_RATE)


def _tract(source: np.ndarray, resonances: np.ndarray) -> np.ndarray:
    """The source (T * STEP,) after a cascade of two-pole resonators, which change at each step (Klatt, 1980)."""
    radius = np.exp(-np.pi * BANDWIDTHS / SAMPLE_RATE)
    second = -2 * radius * np.cos(2 * np.pi * resonances / SAMPLE_RATE)
    third = np.broadcast_to(radius**2, second.shape)
    zero, one = np.zeros_like(second), np.ones_like(second)
    sections = np.stack([1 + second + third, zero, zero, one, second, third], axis=-1)  # (T, 5, 6)
    state = np.zeros((sections.shape[1], 2))
    blocks = []
    for block, section in zip(source.reshape(-1, STEP), np.ascontiguousarray(sections), strict=True):
        voiced, state = sosfilt(section, block, zi=state)
        blocks.append(voiced)
    return np.concatenate(blocks)
