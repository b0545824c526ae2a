import numpy as np
import pandas as pd
import pytest
import torch
from smoke_runs import clips_from_files

from workbook.data.audio import mfcc
from workbook.data.media import read_audio
from workbook.data.store import Store
from workbook.data.window import HOP, SAMPLE_RATE, cut_window
from workbook.evaluate.conditions import Context, Shift
from workbook.task import Classification
from workbook.train.batches import Clips

B, Ta, Tv, Ca, Cv = 6, 29, 5, 7, 11


@pytest.fixture
def features(tmp_path):
    """Six clips of features of two people with three labels."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"clip": list("abcdef"), "actor": [1, 1, 1, 2, 2, 2], "label": [0, 1, 1, 2, 0, 2]})
    table = table.assign(has_audio=True, has_video=True)
    arrays = rng.standard_normal((B, Tv, Cv), np.float32), rng.standard_normal((B, Ca, Ta), np.float32)
    store = Store(tmp_path, table, *arrays, pd.DataFrame(), {"fingerprint": "abc", "names": ["x", "y", "z"]})
    return Clips(store, np.arange(B), table["label"].to_numpy(), Classification(("x", "y", "z")))


def applied(condition, clips):
    """The whole of the clips before and after a condition."""
    chosen = torch.arange(len(clips))
    audio, video, _ = clips[chosen]
    context = Context(clips, chosen, torch.Generator().manual_seed(0))
    return (audio, video), condition(audio, video, context)


@pytest.mark.parametrize("by, expected", [(0.1, 3), (-0.1, -3), (0, 0), (2, 29)])
def test_sound_of_features_is_shifted_by_whole_steps_and_zeros_come_in(by, expected, features):
    (audio, video), (shifted, same) = applied(Shift(by), features)
    assert same is video
    for step in range(Ta):
        source = step + expected
        wanted = audio[..., source] if 0 <= source < Ta else torch.zeros_like(audio[..., 0])
        assert torch.equal(shifted[..., step], wanted)


@pytest.fixture(scope="module")
def heard(small_toy, tmp_path_factory):
    """Some clips of the toy corpus, from its files."""
    return clips_from_files(small_toy, tmp_path_factory.mktemp("heard"), 4)


def test_a_shift_reads_what_lies_outside_of_the_window(heard):
    steps = 13
    by = steps * HOP / SAMPLE_RATE
    (audio, video), (shifted, same) = applied(Shift(by), heard)
    assert same is video and shifted.shape == audio.shape
    for row, clip in enumerate(heard.table.itertuples()):
        moved = mfcc(cut_window(read_audio(clip.audio_path), clip.window_start + by))
        np.testing.assert_array_equal(shifted[row], moved)
        np.testing.assert_allclose(shifted[row, :, 2:100], audio[row, :, 2 + steps : 100 + steps], atol=1e-2)
    torch.testing.assert_close(applied(Shift(0.0), heard)[1][0], audio)
    silent = applied(Shift(100.0), heard)[1][0]
    assert torch.equal(silent, silent[:, :, :1].expand_as(silent)), "nothing is heard after the end"
