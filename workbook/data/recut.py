"""A clip's sound read again from its file: in another window than the stored one, or to be changed before features."""

import numpy as np

from workbook import InputError
from workbook.data.audio import extractor
from workbook.data.media import read_audio
from workbook.data.store import Store
from workbook.data.window import cut_window, span_of


def samples_of(store: Store, row: int, later: float = 0.0) -> np.ndarray:
    """The samples (79380,) of a clip's window, or of one that begins `later` seconds after it.

    Outside of the clip there is silence. Raises InputError where the corpus is of features, the clip has
    no sound, or its file cannot be read.
    """
    clip = store.clips.iloc[row]
    if "audio_path" not in clip:
        raise InputError("features have no sound that could be read again: this needs a corpus of clips")
    if not clip["has_audio"]:
        raise InputError(f"clip {clip['clip']} has no sound that could be changed")
    return cut_window(read_audio(clip["audio_path"]), clip["window_start"] + later, span_of(clip))


def features_of(store: Store, samples: np.ndarray) -> np.ndarray:
    """The audio features (channels, 156) of a window's samples, of the kind that the store has."""
    return extractor(store.manifest["plan"]["settings"].get("audio_features", "mfcc"))(samples)


def audio_later(store: Store, row: int, by: float) -> np.ndarray:
    """The audio features (channels, 156) of a clip in a window that begins `by` seconds later than the stored one.

    Outside of the clip there is silence. Raises InputError as `samples_of`.
    """
    return features_of(store, samples_of(store, row, by))
