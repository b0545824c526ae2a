"""Attention vectors: how much attention each moment of a clip receives, where in time it lies, how even it is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.special import entr

from avlib.attention import attention_vector
from avlib.encoders import audio_seconds
from avlib.model import AudiovisualNet
from workbook.attention.truth import CUE, Cues, clip_with_most_cues, cues_by_clip, inside
from workbook.data.store import Store
from workbook.data.window import HOP, SAMPLE_RATE, WINDOW
from workbook.evaluate.evaluation import attention
from workbook.files import atomic_write
from workbook.text import in_markdown
from workbook.train.batches import Clips

MAP_ONTO = {"video": "video_to_audio", "audio": "audio_to_video"}  # the map whose keys are this modality's steps
EVEN = 0.1  # a step within 10 % of an even share counts as even


class ClipAttention(NamedTuple):
    """The attention of one clip, in the order in which `plots.attention_over_clip` takes it."""

    vectors: dict[str, np.ndarray]  # by modality (T,), in multiples of even attention
    times: dict[str, np.ndarray]  # (T,) the centre of each step
    picture: np.ndarray  # faces (Tv, S, S, 3) uint8 RGB, or features (Cv, Tv)
    sound: np.ndarray  # log-mel spectrogram (bands, steps) in decibels, or features (Ca, Ta)
    cues: Cues  # {} where the truth is not known
    title: str


@dataclass(frozen=True)
class Attention:
    """What a network attends to in N clips."""

    clips: Clips
    maps: dict[str, np.ndarray]  # by direction, such as video_to_audio: (N, H, Tq, Tk), rows sum to 1
    vectors: dict[str, np.ndarray]  # by the modality that receives attention: (N, T)
    relative: dict[str, np.ndarray]  # the vectors in multiples of even attention
    times: dict[str, np.ndarray]  # (T,) the centre of each step, as `step_times`
    cues: dict[str, Cues]  # by clip; {} where the truth is not known

    @property
    def example(self) -> str:
        """The first clip that shows the most cues."""
        return clip_with_most_cues(self.clips.table, self.cues)

    def row(self, clip: str) -> int:
        """The position of a clip among the N."""
        return self.clips.table["clip"].to_list().index(clip)

    def of(self, clip: str) -> ClipAttention:
        """The attention of one clip, with its picture and its sound."""
        row, cues = self.row(clip), self.cues.get(clip, {})
        vectors, about = {name: vector[row] for name, vector in self.relative.items()}, self.clips.table.iloc[row]
        title = f"{about.emotion}, actor {about.actor}"
        return ClipAttention(vectors, self.times, *picture_and_sound(self.clips, row), cues, title)

    def maps_of(self, clip: str) -> dict[str, np.ndarray]:
        """The maps of one clip by direction, (H, Tq, Tk)."""
        return {name: weights[self.row(clip)] for name, weights in self.maps.items()}

    def by_emotion(self) -> dict[str, pd.DataFrame]:
        """The mean relative vector of each emotion's clips: by modality a row per emotion, a column per step."""
        emotions = self.clips.table["emotion"].to_numpy()
        order = self.clips.table.sort_values("label")["emotion"].unique()
        return {name: pd.DataFrame(own).groupby(emotions).mean().loc[order] for name, own in self.relative.items()}

    def save(self, path: Path) -> None:
        """Writes the clips' names, their vectors and the times of the steps as an npz file."""
        times = {f"{name}_times": steps for name, steps in self.times.items()}
        with atomic_write(path) as temporary:
            np.savez_compressed(temporary, clip=self.clips.table["clip"].to_numpy(str), **self.vectors, **times)


def attention_of(net: AudiovisualNet, clips: Clips, truth: pd.DataFrame | None = None) -> Attention:
    """The attention of a network in all clips, with the cues that it should find.

    truth : of a toy corpus, as `Corpus.truth` returns it; None where it is not known
    Raises InputError where the fusion has no attention or there is no clip.
    """
    tensors, cues = attention(net, clips), cues_by_clip(clips.table, truth)
    times = step_times(clips.store, tensors)
    return Attention(clips, *maps_and_vectors(tensors), relative_vectors(tensors), times, cues)


def maps_and_vectors(tensors: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The attention maps of a network by direction, and the vector (N, T) that each modality receives.

    tensors : as `evaluate.evaluation.attention` returns; a vector that is missing is made of the map onto its modality
    """
    maps = {name: weights for name, weights in tensors.items() if "_to_" in name}
    vectors = {}
    for name, direction in MAP_ONTO.items():
        if name in tensors:
            vectors[name] = tensors[name]
        elif direction in maps:
            vectors[name] = attention_vector(torch.from_numpy(maps[direction])).numpy()
    return maps, vectors


def relative_vectors(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The vector (N, T) that each modality receives, in multiples of what even attention gives to each step.

    Where keys are hidden from some queries, as in MULT, even attention goes to the steps that many queries see.
    tensors : as in `maps_and_vectors`; a vector of the network's own has no hidden keys
    """
    vectors = {}
    for name, direction in MAP_ONTO.items():
        if name in tensors:
            vectors[name] = tensors[name] / tensors[name].mean(axis=1, keepdims=True)
        elif direction in tensors:
            vectors[name] = relative_vector(torch.from_numpy(tensors[direction])).numpy()
    return vectors


def relative_vector(maps: torch.Tensor) -> torch.Tensor:
    """The attention vector (N, Tk) of maps (N, H, Tq, Tk), in multiples of even attention.

    A key is hidden from a query where all maps are 0.
    """
    visible = (maps > 0).flatten(0, 1).any(dim=0).double()  # (Tq, Tk)
    even = visible / visible.sum(dim=-1, keepdim=True)
    return attention_vector(maps) / attention_vector(even[None, None])


def concentration(maps: np.ndarray) -> np.ndarray:
    """How far from even each head attends, (H,) in [0, 1]: 0 = evenly, 1 = every query to one key alone.

    It is 1 - entropy / log(keys), the mean over clips and queries. Keys of weight 0 are hidden from the query, as in
    MULT, and do not count; nor do queries that see one key alone. With one key it is 0.

    maps : (N, H, Tq, Tk), rows sum to 1
    """
    keys = (maps > 0).sum(axis=-1)  # (N, H, Tq)
    counts = keys > 1
    sharpness = np.where(counts, 1 - entr(maps).sum(axis=-1) / np.log(np.maximum(keys, 2)), 0)
    return sharpness.sum(axis=(0, 2)) / np.maximum(counts.sum(axis=(0, 2)), 1)


def step_times(store: Store, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The centre of every step of each modality, in seconds of the window; of features, places from 0 to 1 in the clip.

    tensors : maps by direction (..., Tq, Tk), vectors by modality (..., T); they tell how many steps there are
    """
    steps = {}
    for name, values in tensors.items():
        key, _, query = name.partition("_to_")
        steps |= {query: values.shape[-2], key: values.shape[-1]} if query else {name: values.shape[-1]}
    inputs = {"audio": store.audio.shape[-1], "video": store.video.shape[1]}
    if store.video.ndim == 3:  # features
        centres = {name: np.arange(count) + 0.5 + (inputs[name] - count) / 2 for name, count in steps.items()}
        return {name: places / inputs[name] for name, places in centres.items()}
    times = {"video": (np.arange(steps.get("video", 0)) + 0.5) * WINDOW / inputs["video"]}
    times["audio"] = audio_seconds(steps.get("audio", 0), inputs["audio"], HOP / SAMPLE_RATE).numpy()
    return {name: times[name] for name in steps}


def picture_and_sound(clips: Clips, row: int) -> tuple[np.ndarray, np.ndarray]:
    """The faces (Tv, S, S, 3) of a clip and the log-mel spectrogram of its window; of features, (Cv, Tv) and (Ca, Ta).

    row : among the clips. Raises InputError where the file of the sound cannot be read any more.
    """
    store, row = clips.store, clips.rows[row]
    if store.video.ndim == 3:  # features
        return store.video[row].T, store.audio[row]
    from workbook.data.audio import log_mel
    from workbook.data.media import read_audio
    from workbook.data.window import cut_window, span_of

    about = store.clips.iloc[row]
    faces = store.video[row][..., store.rgb]
    return faces, log_mel(cut_window(read_audio(about.audio_path), about.window_start, span_of(about)))


def clip_sentence(clip: ClipAttention, at: Callable[[float], str]) -> str:
    """How even one clip's attention vectors are, where the most goes, and how much the cue gets, in Markdown.

    at : a time in words, such as `plots.SECONDS.at`
    """
    parts = []
    for name, vector in clip.vectors.items():
        times, cue = clip.times[name], clip.cues.get(CUE[name])
        if len(vector) == 1:
            parts.append(f"The only {name} step gets all attention.")
            continue
        text = f"**{vector.max():.2f} times even** attention goes to the {name} step at {at(times[vector.argmax()])}"
        within = inside(times, cue or (1, 0))
        text += f", {vector[within].mean():.2f} times even to the steps inside the cue" if within.any() else ""
        even = int((np.abs(vector - 1) <= EVEN).sum())
        parts.append(f"{text}; {even} of {len(vector)} steps are even within {100 * EVEN:.0f} %.")
    return " ".join(parts)


def map_name(direction: str) -> str:
    """A map in words, such as `audio looks at video` for video_to_audio, where audio is the query."""
    key, query = direction.split("_to_")
    return f"{query} looks at {key}"


def concentration_sentence(maps: dict[str, np.ndarray]) -> str:
    """How far from even each head attends over all clips, in Markdown; maps : by direction, as in `concentration`."""
    if not maps:
        return "This fusion returns no maps."
    heads = {map_name(name): concentration(weights) for name, weights in maps.items()}
    parts = [f"**{', '.join(f'{100 * head:.1f}' for head in values)} %** as {name}" for name, values in heads.items()]
    return f"{'; '.join(parts)}: how far each head is from even (0 %) to one step alone (100 %), over all test clips."


def emotion_sentence(means: dict[str, pd.DataFrame]) -> str:
    """Which emotion's mean vector goes farthest from even, in Markdown; means : as `Attention.by_emotion`."""
    distances = {name: (table - 1).abs().max(axis=1) for name, table in means.items()}
    parts = [f"**{100 * far.max():.0f} %** for {name} ({in_markdown(far.idxmax())})" for name, far in distances.items()]
    return f"{' and '.join(parts)}: how far the mean vector of an emotion goes from even, at most."
