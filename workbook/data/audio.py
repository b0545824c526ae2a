"""Audio features, for the network and for figures; and the sound of a stored clip, from its file.

All features are of a window's samples (79380,), mono at 22.05 kHz, and have a step every 23.2 ms, 156 in a window. They
stay as librosa returns them, unscaled, like the authors' MFCCs.
"""

from collections.abc import Callable

import librosa
import numpy as np

from workbook import InputError
from workbook.data.media import read_audio
from workbook.data.store import Store
from workbook.data.window import HOP, N_MFCC, SAMPLE_RATE, WINDOW_SAMPLES, cut_window, span_of


def mfcc(samples: np.ndarray) -> np.ndarray:
    """The 10 mel-frequency cepstral coefficients, (10, 156) float32.

    The first is the log energy, down to -600; the others are between about -150 and 150.
    """
    return librosa.feature.mfcc(y=samples, sr=SAMPLE_RATE, n_mfcc=N_MFCC, hop_length=HOP).astype(np.float32)


def log_mel(samples: np.ndarray, n_mels: int = 64) -> np.ndarray:
    """The log-mel spectrogram in decibels, (n_mels, 156) float32, cut 80 dB below its peak.

    It keeps the loudness, as MFCCs do: they are the cosine transform of such a spectrogram with 128 bands.
    """
    power = librosa.feature.melspectrogram(y=samples, sr=SAMPLE_RATE, n_mels=n_mels, hop_length=HOP)
    return librosa.power_to_db(power).astype(np.float32)


def chroma(samples: np.ndarray) -> np.ndarray:
    """The strength of each of the 12 pitch classes, (12, 156) float32 in [0, 1]; the strongest of a step is 1.

    Speech has no tuning, so A is 440 Hz in every clip.
    """
    return librosa.feature.chroma_stft(y=samples, sr=SAMPLE_RATE, hop_length=HOP, tuning=0.0).astype(np.float32)


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """The power in each of 257 bins from 0 to 11 025 Hz in decibels, (257, 156) float32, cut 80 dB below its peak."""
    amplitude = np.abs(librosa.stft(samples, n_fft=HOP, hop_length=HOP))  # a shorter one would skip sound between steps
    return librosa.amplitude_to_db(amplitude).astype(np.float32)


AUDIO_FEATURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # samples (79380,) -> (channels, 156) float32
    "mfcc": mfcc,
    "logmel": log_mel,
    "chroma": chroma,
    "spectrogram": spectrogram,
}


def channels(name: str) -> int:
    """The number of channels of these audio features: mfcc 10, logmel 64, chroma 12, spectrogram 257."""
    return len(AUDIO_FEATURES[name](np.zeros(WINDOW_SAMPLES, np.float32)))


def samples_of(store: Store, row: int, later: float = 0.0) -> np.ndarray:
    """The samples (79380,) of a clip's window, or of one that begins `later` seconds after it.

    They are zeros outside the clip, and where it has no sound. Raises InputError where the store is of features, and
    where the clip's file cannot be read.
    """
    clip = store.clips.iloc[row]
    if "audio_path" not in clip:
        raise InputError("a store of features has no sound to read again: this needs a corpus of clips")
    if not clip["has_audio"]:
        return np.zeros(WINDOW_SAMPLES, np.float32)
    return cut_window(read_audio(clip["audio_path"]), clip["window_start"] + later, span_of(clip))


def features_of(store: Store, samples: np.ndarray) -> np.ndarray:
    """The features (channels, 156) of a window's samples (79380,), of the kind that the store holds."""
    return AUDIO_FEATURES[store.manifest["plan"]["settings"]["audio_features"]](samples)
