"""The pictures and the sound of a changed clip, small enough to send to a browser at every step."""

from functools import lru_cache
from io import BytesIO

import numpy as np
from IPython.display import Audio
from matplotlib import colormaps
from PIL import Image

from workbook.data.window import SAMPLE_RATE
from workbook.explore.probe import Change, Inputs
from workbook.plots.attention import multiples_of_even
from workbook.plots.inputs import reach_of, standardised
from workbook.plots.style import AROUND, SHADE

HEIGHT = 72  # pixels of a face
CACHED = 32  # pictures, and sounds


class Pictures:
    """The pictures and the sound of changed clips; the latest ones are cached."""

    def __init__(self, inputs: Inputs):
        self.inputs, self.rgb = inputs, inputs.clips.store.rgb
        self.small = lru_cache(CACHED)(self._small)
        self._row = lru_cache(CACHED)(self._video_picture)
        self._sound = lru_cache(CACHED)(self._audio_picture)

    def video(self, clip: str, change: Change) -> bytes:
        """A row of faces as a JPEG, or a heat map of features as a PNG."""
        return self._row(clip, change.of("video"))

    def audio(self, clip: str, change: Change) -> tuple[bytes, bytes]:
        """A spectrogram or a heat map of features as a PNG, and the sound as a wav file, empty where there is none."""
        return self._sound(clip, change.of("audio"))

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
        """The video of a noisy clip, faces (Tv, 3, S, S) about HEIGHT pixels high, before masks and gain."""
        values = self.inputs.video(clip, Change(video_noise=noise))[0].cpu().numpy()
        step = max(1, values.shape[-1] // HEIGHT) if values.ndim == 4 else 1
        return values[..., ::step, ::step].copy()  # frees the large ones

    def _video_picture(self, clip: str, change: Change) -> bytes:
        video = self.small(clip, change.video_noise).copy()
        video[self.inputs.masked("video", change).numpy()] = 0
        return row_of_faces(video[:, self.rgb] * change.video_gain) if video.ndim == 4 else heat_png(video.T, "video")

    def _audio_picture(self, clip: str, change: Change) -> tuple[bytes, bytes]:
        values, samples = self.audio_values(clip, change), self.inputs.sound(clip, change)
        if samples is None:
            return heat_png(values, "audio"), b""
        loudest = np.abs(self.inputs.sound(change.voice or clip, Change())).max()  # the same for all changes of a clip
        return spectrogram_png(values, change.audio_gain), wav(samples, loudest)


def row_of_faces(video: np.ndarray) -> bytes:
    """Faces (Tv, 3, S, S) in [0, 1] side by side, as a JPEG."""
    row = np.concatenate(list(video.transpose(0, 2, 3, 1)), axis=1)  # (S, Tv * S, 3)
    return _encoded((row * 255).round().astype(np.uint8), format="jpeg", quality=90, subsampling=0)


def heat_png(values: np.ndarray, modality: str) -> bytes:
    """Features (C, T) as a heat map, each channel standardised as in `plots.features`."""
    scaled = standardised(values.astype(float))
    reach = reach_of(scaled)
    return _png(_coloured(AROUND[modality], scaled, -reach, reach))


def spectrogram_png(log_mel: np.ndarray, gain: float = 1.0) -> bytes:
    """A log-mel spectrogram (bands, steps) in decibels, darker with a gain below 1, as a PNG."""
    return _png((_coloured(colormaps["magma"], log_mel, log_mel.min(), log_mel.max()) * gain).astype(np.uint8))


def map_png(weights: np.ndarray, key: str, reach: float) -> bytes:
    """An attention map (Tq, Tk), the first query at the bottom, in the colours of `plots.attention_map`, as a PNG."""
    return _png(_coloured(AROUND[key].with_extremes(bad=SHADE), multiples_of_even(weights), 1 - reach, 1 + reach))


def wav(samples: np.ndarray, loudest: float) -> bytes:
    """The sound as a wav file in which `loudest` has full volume; louder samples are cut. Empty where it is silent."""
    if not np.any(samples):
        return b""
    return Audio(np.clip(samples / max(loudest, 1e-9), -1, 1), rate=SAMPLE_RATE, normalize=False).data


def _coloured(colours, values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rows of values as pixels, the first row at the bottom."""
    return colours((values[::-1] - low) / max(high - low, 1e-12), bytes=True)[..., :3]


def _png(pixels: np.ndarray) -> bytes:
    return _encoded(pixels, format="png", compress_level=1)


def _encoded(pixels: np.ndarray, **options) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, **options)
    return file.getvalue()
