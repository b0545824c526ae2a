"""A clip as the figures show it, whatever its corpus is made of: what was seen, what was heard, and when."""

from collections.abc import Callable

import numpy as np

from avlib.data.clips.window import HOP, SAMPLE_RATE, WINDOW
from avlib.data.store import Store
from avlib.encoders import audio_seconds


def step_times(store: Store, maps: dict) -> dict[str, np.ndarray]:
    """The centre of every step of each modality, in seconds of the window; of features, places from 0 to 1 in the clip.

    maps : by direction, such as `video_to_audio` (N, H, Ta, Tv): they tell how many steps the attention saw
    """
    steps = {}
    for direction, weights in maps.items():
        key, query = direction.split("_to_")
        steps |= {query: weights.shape[-2], key: weights.shape[-1]}
    inputs = {"audio": store.audio.shape[-1], "video": store.video.shape[1]}
    if store.video.ndim == 5:
        seconds = audio_seconds(steps["audio"], inputs["audio"], HOP / SAMPLE_RATE).numpy()
        return {"audio": seconds, "video": (np.arange(steps["video"]) + 0.5) * WINDOW / inputs["video"]}
    return {name: (np.arange(count) + 0.5 + (inputs[name] - count) / 2) / inputs[name] for name, count in steps.items()}


def seen_and_heard(store: Store, row: int) -> tuple[np.ndarray, np.ndarray]:
    """The faces (Tv, S, S, 3) of a clip and the log-mel spectrogram of its window; of features, (Cv, Tv) and (Ca, Ta).

    row : in the store. Raises InputError where the sound of a clip cannot be read any more.
    """
    if store.video.ndim == 3:
        return store.video[row].T, store.audio[row]
    from avlib.data.clips.audio import log_mel
    from avlib.data.clips.media import read_audio
    from avlib.data.clips.window import cut_window, span_of

    about = store.clips.iloc[row]
    return store.video[row], log_mel(cut_window(read_audio(about.audio_path), about.window_start, span_of(about)))


def sound_of(store: Store) -> Callable[[str], tuple[np.ndarray, int]] | None:
    """A function from the name of a clip to its sound and its rate in hertz; None in a corpus of features."""
    if "audio_path" not in store.clips:
        return None
    from avlib.data.clips.media import read_audio

    paths = store.clips.set_index("clip").audio_path
    return lambda clip: (read_audio(paths[clip]), SAMPLE_RATE)
