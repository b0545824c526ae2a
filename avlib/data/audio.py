"""From sound to what the network hears, and to what a figure shows."""

import librosa
import numpy as np

from avlib.data.media import HOP, N_MFCC, SAMPLE_RATE, WINDOW_SAMPLES


def mfcc(samples: np.ndarray) -> np.ndarray:
    """The 10 mel-frequency cepstral coefficients of a window, (10, 156) float32, raw as librosa gives them.

    The authors feed them unscaled: the first is the log energy and runs to -600, the others stay within about +-150.

    samples : (79380,) mono at 22.05 kHz.
    """
    _check(samples)
    return librosa.feature.mfcc(y=samples, sr=SAMPLE_RATE, n_mfcc=N_MFCC, hop_length=HOP).astype(np.float32)


def log_mel(samples: np.ndarray, n_mels: int = 64) -> np.ndarray:
    """The log-mel spectrogram of a window in decibels below its peak, (n_mels, 156) float32 in [-80, 0]: for figures.

    samples : (79380,) mono at 22.05 kHz.
    """
    _check(samples)
    power = librosa.feature.melspectrogram(y=samples, sr=SAMPLE_RATE, n_mels=n_mels, hop_length=HOP)
    return librosa.power_to_db(power, ref=np.max).astype(np.float32)


def _check(samples: np.ndarray) -> None:
    assert samples.shape == (WINDOW_SAMPLES,), f"a window has {WINDOW_SAMPLES} samples, this has shape {samples.shape}"
