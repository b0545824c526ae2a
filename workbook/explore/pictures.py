"""The pictures and the sound of a changed clip, small enough to send to a browser at every step."""

from functools import lru_cache
from io import BytesIO

import numpy as np
from IPython.display import Audio
from matplotlib import colormaps
from matplotlib.colors import Colormap, Normalize
from PIL import Image

from workbook.data.window import SAMPLE_RATE
from workbook.explore.probe import Change, Inputs
from workbook.plots.inputs import reach_of, standardised
from workbook.plots.style import AROUND

HEIGHT = 72  # pixels of a face
CACHED = 32  # pictures, and sounds


class Pictures:
    """The pictures and the sound of changed clips; the latest ones are cached.

    video : a row of faces as a JPEG, or a heat map of features as a PNG
    audio : a spectrogram or a heat map of features as a PNG, and the sound as a wav file, empty where there is none
    small : the video of a clip at a noise, faces (Tv, 3, S, S) about HEIGHT pixels high, before masks and gain
    Each takes a clip and the part of a change that concerns it, as `Change.of`; `small` takes the noise alone.
    """

    def __init__(self, inputs: Inputs):
        self.inputs, self.rgb = inputs, inputs.clips.store.rgb
        self.video, self.audio = lru_cache(CACHED)(self._video), lru_cache(CACHED)(self._audio)
        self.small = lru_cache(CACHED)(self._small)

    def audio_values(self, clip: str, change: Change) -> np.ndarray:
        """The log-mel spectrogram (bands, steps) of a changed clip; without a sound, the features (C, T)."""
        samples = self.inputs.sound(clip, change)
        if samples is None:
            return self.inputs.audio(clip, change)[0].cpu().numpy()
        from workbook.data.audio import log_mel  # librosa takes a second

        return log_mel(samples)

    def video_values(self, clip: str, change: Change) -> np.ndarray:
        """The faces (Tv, S, S, 3) uint8 of a changed clip, or its features (C, T)."""
        values = self.inputs.video(clip, change)[0].cpu().numpy()
        if values.ndim == 2:
            return values.T
        return (255 * np.moveaxis(values[:, self.rgb], 1, -1)).round().astype(np.uint8)

    def _small(self, clip: str, noise: float) -> np.ndarray:
        values = self.inputs.video(clip, Change(video_noise=noise))[0].cpu().numpy()
        step = max(1, values.shape[-1] // HEIGHT) if values.ndim == 4 else 1
        return values[..., ::step, ::step].copy()  # frees the large ones

    def _video(self, clip: str, change: Change) -> bytes:
        video = self.small(clip, change.video_noise) * change.video_gain
        video[self.inputs.masked("video", change)] = 0
        if video.ndim == 2:
            return features_png(video.T, "video")
        row = np.concatenate(list(video[:, self.rgb].transpose(0, 2, 3, 1)), axis=1)  # (S, Tv * S, 3)
        return _encoded(row, format="jpeg", quality=90, subsampling=0)

    def _audio(self, clip: str, change: Change) -> tuple[bytes, bytes]:
        values, samples = self.audio_values(clip, change), self.inputs.sound(clip, change)
        if samples is None:
            return features_png(values, "audio"), b""
        loudest = np.abs(self.inputs.sound(change.voice or clip, Change())).max()  # the same for all changes of a clip
        spectrogram = heat_png(values, colormaps["magma"], values.min(), values.max(), change.audio_gain)
        return spectrogram, wav(samples, loudest)


def features_png(values: np.ndarray, modality: str) -> bytes:
    """Features (C, T) as a heat map, each channel standardised as in `plots.features`."""
    scaled = standardised(values.astype(float))
    return heat_png(scaled, AROUND[modality], -reach_of(scaled), reach_of(scaled))


def heat_png(values: np.ndarray, colours: Colormap, low: float, high: float, gain: float = 1.0) -> bytes:
    """Rows of values as a PNG, the first row at the bottom; gain : below 1 darkens it"""
    pixels = colours(Normalize(low, high)(values))[::-1, :, :3]
    return _encoded(gain * pixels, format="png", compress_level=1)


def wav(samples: np.ndarray, loudest: float) -> bytes:
    """The sound as a wav file in which `loudest` has full volume; louder samples are cut. Empty where it is silent."""
    if not np.any(samples):
        return b""
    return Audio(np.clip(samples / max(loudest, 1e-9), -1, 1), rate=SAMPLE_RATE, normalize=False).data


def _encoded(pixels: np.ndarray, **options) -> bytes:
    """A picture (H, W, 3) in [0, 1] as the bytes of a file."""
    file = BytesIO()
    Image.fromarray((255 * pixels).round().astype(np.uint8)).save(file, **options)
    return file.getvalue()
