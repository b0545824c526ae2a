"""Choosing a clip, without a browser."""

import numpy as np
import pandas as pd
import pytest

from workbook import InputError
from workbook.explore.clip_picker import ClipPicker, clip_labels, with_answers

CLIPS = pd.DataFrame({"clip": list("abcde"), "emotion": ["happy", "happy", "sad", "sad", "angry"]})
CLIPS = CLIPS.assign(actor=[2, 11, 2, 11, 2], correct=[True, False, True, True, False])
CLIPS = CLIPS.assign(lost_without_audio=[0.1, 0.5, 0.3, 0.2, np.nan])


@pytest.fixture
def choices():
    """The clips that were chosen, in order."""
    return []


@pytest.fixture
def picker(choices):
    picker = ClipPicker(CLIPS)
    picker.observe(lambda change: choices.append(change["new"]), names="chosen")
    return picker


def test_it_opens_on_the_first_clip_or_the_one_it_is_told():
    assert ClipPicker(CLIPS).chosen == "a"
    assert ClipPicker(CLIPS, first="d").chosen == "d"
    with pytest.raises(InputError, match="no clip f among these 5"):
        ClipPicker(CLIPS, first="f")


def test_filters_narrow_the_clips_choose_once_and_can_be_undone_where_none_is_left(picker, choices):
    picker.actor.value = 11
    assert picker.offered == ["b", "d"]
    picker.emotion.value = "sad"
    picker.answer.value = "right"  # d passes and stays
    assert picker.offered == ["d"] and choices == ["b", "d"]
    picker.answer.value = "wrong"
    assert picker.offered == [] and picker.chosen is None
    picker.later.click()
    picker.emotion.value = picker.actor.value = "all"
    picker.later.click()
    picker.earlier.click()
    assert choices == ["b", "d", None, "b", "e", "b"]


def test_the_clips_that_lose_most_without_a_modality_come_first(picker):
    picker.order.value = "lost most without sound"
    assert picker.offered == ["b", "c", "d", "a", "e"]
    assert picker.chosen == "b"
    assert "lost most without picture" not in picker.order.options


def test_another_table_keeps_the_clip_and_the_filters(picker, choices):
    picker.answer.value = "right"
    picker.take(CLIPS.assign(correct=[True, True, False, False, False]))
    assert picker.offered == ["a", "b"] and picker.chosen == "a" and choices == []


def test_a_clip_that_filters_hide_is_reached_all_the_same(picker):
    picker.emotion.value = "sad"
    picker.reach("e")
    assert picker.chosen == "e" and picker.emotion.value == "all"
    with pytest.raises(InputError, match="no clip z among these 5"):
        picker.reach("z")


def test_clips_have_readable_names_each_its_own():
    clips = pd.DataFrame({"clip": ["x", "y", "z"], "emotion": ["sad", "happy", "sad"], "actor": [5, 5, 5]})
    names = clip_labels(clips)
    assert names == {"x": "sad, actor 5, no. 1", "y": "happy, actor 5", "z": "sad, actor 5, no. 2"}
    assert ClipPicker(clips).clip.options == tuple((name, clip) for clip, name in names.items())


def predictions(**conditions):
    tables = [pd.DataFrame(rows).assign(condition=name) for name, rows in conditions.items()]
    return pd.concat(tables, ignore_index=True)


def test_what_a_network_says_is_added_to_the_table():
    both = {"clip": ["b", "a"], "label": [1, 0], "p0": [0.3, 0.9], "p1": [0.7, 0.1]}
    sound = {"clip": ["a"], "label": [0], "p0": [0.2], "p1": [0.8]}
    table = with_answers(CLIPS[["clip", "emotion", "actor"]][:2], predictions(AV=both, A=sound)).set_index("clip")
    assert table.correct.tolist() == [True, True]
    assert table.lost_without_video["a"] == pytest.approx(0.7) and np.isnan(table.lost_without_video["b"])
    assert "lost_without_audio" not in table


def test_sentiment_is_right_by_its_sign_and_lost_by_its_distance():
    both = {"clip": ["a", "b"], "label": [1.2, -0.4], "value": [0.5, 0.1]}
    picture = {"clip": ["a", "b"], "label": [1.2, -0.4], "value": [-1.0, 0.2]}
    table = with_answers(CLIPS[["clip", "emotion", "actor"]][:2], predictions(AV=both, V=picture))
    assert table.correct.tolist() == [True, False]
    assert table.lost_without_audio.tolist() == pytest.approx([1.5, 0.1])
