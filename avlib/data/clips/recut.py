"""A clip's sound in another window than the stored one, read again from its file."""

import numpy as np

from avlib import InputError
from avlib.data.clips.audio import extractor
from avlib.data.clips.media import read_audio
from avlib.data.clips.window import cut_window, span_of
from avlib.data.store import Store


def audio_later(store: Store, row: int, by: float) -> np.ndarray:
    """The audio features (channels, 156) of a clip in a window that begins `by` seconds later than the stored one.

    Outside of the clip there is silence. Raises InputError where the clip has no sound, or its file cannot be read.
    """
    clip = store.clips.iloc[row]
    if not clip["has_audio"]:
        raise InputError(f"clip {clip['clip']} has no sound that could be shifted")
    samples = cut_window(read_audio(clip["audio_path"]), clip["window_start"] + by, span_of(clip))
    return extractor(store.manifest["plan"]["settings"].get("audio_features", "mfcc"))(samples)
