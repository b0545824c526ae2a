"""A clip as the figures show it, whatever its corpus is made of: what was seen, what was heard, and when."""

import numpy as np
import torch
from scipy.special import entr

from avlib.attention import attention_vector
from avlib.encoders import audio_seconds
from workbook.data.store import Store
from workbook.data.window import HOP, SAMPLE_RATE, WINDOW


def maps_and_vectors(attention: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The attention maps of a network by direction, and the vector (N, T) that each modality receives.

    attention : as `evaluate.evaluation.attention` collects it; a missing vector is made of the map onto it
    """
    maps = {name: weights for name, weights in attention.items() if "_to_" in name}
    vectors = {}
    for name in ("video", "audio"):
        across = f"{name}_to_{'audio' if name == 'video' else 'video'}"
        if name in attention:
            vectors[name] = attention[name]
        elif across in maps:
            vectors[name] = attention_vector(torch.from_numpy(maps[across])).numpy()
    return maps, vectors


def relative_vectors(attention: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The vector (N, T) that each modality receives, in multiples of what even attention gives to each step.

    Where keys are hidden from some queries, as in MULT, even attention goes to the steps that many queries see.
    attention : as in `maps_and_vectors`
    """
    maps, vectors = maps_and_vectors(attention)
    masked = {name: {} if name in attention else maps for name in vectors}  # a network's own vector has no mask
    return {name: vector / even_vector(name, vector, masked[name]) for name, vector in vectors.items()}


def even_vector(name: str, vector: np.ndarray, maps: dict[str, np.ndarray]) -> np.ndarray:
    """The vector (1, T) of even attention with the same total: T equal values, but for keys that are hidden.

    maps : those that the vector (N, T) was made of; a key is hidden from a query if all clips have weight 0 there
    """
    weights = maps.get({"video": "video_to_audio", "audio": "audio_to_video"}[name])
    if weights is None:
        return vector.mean(axis=1, keepdims=True)
    seen = (weights > 0).any(axis=(0, 1), keepdims=True)  # (1, 1, Tq, T)
    return attention_vector(torch.from_numpy(seen / seen.sum(axis=-1, keepdims=True))).numpy()


def concentration(maps: np.ndarray) -> np.ndarray:
    """How far from even each head attends, (H,) in [0, 1]: 0 = evenly, 1 = every query to one key alone.

    It is 1 - entropy / log(keys), the mean over clips and queries. Keys of weight 0 are hidden from the query, as in
    MULT, and do not count; nor do queries that see one key alone. With one key it is 0.

    maps : (N, H, Tq, Tk), rows sum to 1
    """
    keys = (maps > 0).sum(axis=-1)  # (N, H, Tq)
    several = keys > 1
    found = np.where(several, 1 - entr(maps).sum(axis=-1) / np.log(np.maximum(keys, 2)), 0)
    return found.sum(axis=(0, 2)) / np.maximum(several.sum(axis=(0, 2)), 1)


def step_times(store: Store, maps: dict, vectors: dict | None = None) -> dict[str, np.ndarray]:
    """The centre of every step of each modality, in seconds of the window; of features, places from 0 to 1 in the clip.

    maps : by direction, such as `video_to_audio` (N, H, Ta, Tv)        vectors : by modality (N, T)
    Both tell how many steps the attention saw.
    """
    steps = {modality: vector.shape[-1] for modality, vector in (vectors or {}).items()}
    for direction, weights in maps.items():
        key, query = direction.split("_to_")
        steps |= {query: weights.shape[-2], key: weights.shape[-1]}
    inputs = {"audio": store.audio.shape[-1], "video": store.video.shape[1]}
    if store.video.ndim == 5:
        times = {"video": (np.arange(steps.get("video", 0)) + 0.5) * WINDOW / inputs["video"]}
        times["audio"] = audio_seconds(steps.get("audio", 0), inputs["audio"], HOP / SAMPLE_RATE).numpy()
        return {name: times[name] for name in steps}
    return {name: (np.arange(count) + 0.5 + (inputs[name] - count) / 2) / inputs[name] for name, count in steps.items()}


def seen_and_heard(store: Store, row: int) -> tuple[np.ndarray, np.ndarray]:
    """The faces (Tv, S, S, 3) of a clip and the log-mel spectrogram of its window; of features, (Cv, Tv) and (Ca, Ta).

    row : in the store. Raises InputError where the sound of a clip cannot be read any more.
    """
    if store.video.ndim == 3:
        return store.video[row].T, store.audio[row]
    from workbook.data.audio import log_mel
    from workbook.data.media import read_audio
    from workbook.data.window import cut_window, span_of

    about = store.clips.iloc[row]
    return store.video[row], log_mel(cut_window(read_audio(about.audio_path), about.window_start, span_of(about)))
