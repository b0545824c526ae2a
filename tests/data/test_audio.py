"""What the network hears, in each of its forms: against librosa, SciPy and NumPy, and on sounds of known content."""

import librosa
import numpy as np
import pytest
from scipy.fft import dct

from workbook.data.audio import AUDIO_FEATURES, channels, chroma, log_mel, mfcc, spectrogram
from workbook.data.window import MFCC_STEPS, SAMPLE_RATE, WINDOW_SAMPLES


def beep(hertz, start=0, length=WINDOW_SAMPLES):
    """A window with a tone of so many samples from a sample on."""
    samples = np.zeros(WINDOW_SAMPLES, np.float32)
    samples[start : start + length] = 0.5 * np.sin(2 * np.pi * hertz * np.arange(length) / SAMPLE_RATE)
    return samples


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).uniform(-0.5, 0.5, WINDOW_SAMPLES).astype(np.float32)


def test_the_mfcc_are_librosas_with_its_own_settings():
    samples = beep(220, length=29_000)
    features = mfcc(samples)
    assert features.shape == (10, MFCC_STEPS) == (10, 156) and features.dtype == np.float32
    np.testing.assert_array_equal(features, librosa.feature.mfcc(y=samples, sr=22050, n_mfcc=10))


def test_the_mfcc_are_the_cosine_transform_of_the_log_mel_spectrogram(noise):
    np.testing.assert_allclose(dct(log_mel(noise, n_mels=128), axis=0, norm="ortho")[:10], mfcc(noise), atol=1e-3)


def test_the_spectrogram_is_the_power_of_a_fourier_transform(noise):
    step = 71
    part = noise[step * 512 - 256 : step * 512 + 256] * np.hanning(513)[:-1]
    expected = 20 * np.log10(np.abs(np.fft.rfft(part)))
    np.testing.assert_allclose(spectrogram(noise)[:, step], expected, atol=0.01)


@pytest.mark.parametrize("hertz, pitch_class", [(440, 9), (880, 9), (261.63, 0), (370, 6)])
def test_chroma_names_the_note_in_any_octave(hertz, pitch_class):
    notes = chroma(beep(hertz))
    assert notes.min() >= 0 and notes.max() == pytest.approx(1)
    assert (notes.argmax(axis=0) == pitch_class).mean() > 0.95


@pytest.mark.parametrize("name", AUDIO_FEATURES)
def test_all_features_have_their_channels_and_the_steps_of_the_mfcc(name, noise):
    features = AUDIO_FEATURES[name](noise)
    assert features.shape == (channels(name), MFCC_STEPS) and features.dtype == np.float32
    assert np.isfinite(features).all() and features.std(axis=1).all()
    assert np.isfinite(AUDIO_FEATURES[name](np.zeros(WINDOW_SAMPLES, np.float32))).all()
