"""Features as batches: standardised on the training part alone, absent ones zero."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.synthetic import all_clips, synthetic_store
from benchmarks.timing import memory
from workbook import InputError
from workbook.data.store import Store
from workbook.train.batches import Clips, splits, task_and_labels


@pytest.fixture
def store(tmp_path):
    """35 clips of 5 groups: audio (35, 3, 11), video (35, 7, 2); the first clip lacks audio, the second video."""
    rng = np.random.default_rng(5)
    audio = rng.normal(7, 3, (35, 3, 11)).astype(np.float32)
    video = rng.normal(-2, 5, (35, 7, 2)).astype(np.float32)
    audio[:, 2] = 4  # a channel that never changes
    audio[0], video[1] = 0, 0
    clips = pd.DataFrame({"clip": [f"c{row:02d}" for row in range(35)], "actor": np.repeat(range(5), 7)})
    clips = clips.assign(label=np.tile(range(7), 5), has_audio=clips.index != 0, has_video=clips.index != 1)
    manifest = {"fingerprint": "f", "task": "classes", "names": list("abcdefg"), "standardise": True}
    return Store(tmp_path, clips, video, audio, pd.DataFrame(), manifest)


def everything(clips):
    return clips[torch.arange(len(clips))]


def test_all_parts_are_standardised_with_the_numbers_of_the_training_part_and_what_is_absent_stays_zeros(store):
    parts = splits(store, 0, 0, ("audio", "video"), fold_scheme="groups")
    for place, (name, axes) in enumerate({"audio": (0, 2), "video": (0, 1)}.items()):
        values, has = getattr(store, name), store.clips[f"has_{name}"].to_numpy()
        train = values[[row for row in parts["train"].rows if has[row]]]
        mean, deviation = train.mean(axis=axes, keepdims=True), train.std(axis=axes, keepdims=True)
        expected = (values - mean) / np.where(deviation > 0, deviation, 1) * has[:, None, None]
        for clips in parts.values():
            np.testing.assert_allclose(everything(clips)[place], expected[clips.rows], rtol=1e-4, atol=1e-5)


def test_seven_classes_are_the_last_seven_and_leave_neutral_out(tiny_store):
    task, labels = task_and_labels(tiny_store, 7)
    assert task.names[labels[4]] == "angry" and list(labels[:8]) == [-1, 0, 1, 2, 3, 4, 5, 6]
    with pytest.raises(InputError, match="no task of 9 classes: the store names 8"):
        task_and_labels(tiny_store, 9)


def test_a_modality_that_no_training_clip_has_stays_zeros(store):
    store.clips["has_audio"], store.audio[:] = False, 0
    audio, video, _ = everything(splits(store, 0, 0, ("audio", "video"), fold_scheme="groups")["train"])
    assert not audio.any() and video.isfinite().all()


@pytest.mark.parametrize("size, sizes", [(17, [17, 18]), (34, [35]), (35, [35]), (11, [11, 11, 11, 2]), (99, [35])])
def test_no_batch_is_a_single_clip_that_is_left_over(size, sizes):
    clips = all_clips(synthetic_store(35, 1, 1))
    batches = list(clips.batches(size, torch.arange(35).flip(0)))
    assert [len(labels) for *_, labels in batches] == sizes
    assert torch.equal(torch.cat([labels for *_, labels in batches]), clips.labels.flip(0))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not say what is in memory")
def test_memory_does_not_grow_with_the_store_that_is_read(tmp_path):
    few, many = (tmp_path / name for name in ("few", "many"))
    few.mkdir(), many.mkdir()
    list(all_clips(synthetic_store(8, 15, 96, few)).batches(8))  # the code of all this is in memory now
    clips = all_clips(synthetic_store(64, 15, 96, many))  # 27 MB of frames
    as_frames = replace(clips.store, video=clips.store.video.reshape(64 * 15, 1, 96, 96, 3))
    as_frames = replace(as_frames, clips=clips.store.clips.loc[np.repeat(np.arange(64), 15)])
    frames = Clips(as_frames, np.arange(64 * 15), clips.labels.repeat(15), clips.task, modalities=("video",))
    before = memory("RssFile")
    for batches in (clips.batches(8), frames.batches(120)):
        for _ in batches:
            assert memory("RssFile") - before < 9
