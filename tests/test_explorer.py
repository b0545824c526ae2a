"""The explorer without a browser: what its widgets hold after a choice."""

import io
import wave

import matplotlib
import numpy as np
import pandas as pd
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from avlib import InputError
from avlib.lab.explorer import explore

CLIPS = pd.DataFrame(
    {
        "clip": ["a", "b", "c", "d", "e"],
        "emotion": ["happy", "happy", "sad", "sad", "angry"],
        "actor": [2, 11, 2, 11, 2],
        "correct": [True, False, True, True, False],
    }
)


@pytest.fixture
def drawn():
    """The names that `draw` was called with, in order."""
    return []


@pytest.fixture
def draw(drawn):
    def draw_one(clip):
        drawn.append(clip)
        figure, ax = plt.subplots(figsize=(1, 1))
        ax.set_title(clip)
        return figure

    return draw_one


def test_the_first_clip_is_shown_at_once(draw, drawn):
    explorer = explore(CLIPS, draw)
    assert drawn == ["a"]
    assert bytes(explorer.picture.value[:4]) == b"\x89PNG"


def test_it_opens_on_the_clip_that_it_is_told_to(draw, drawn):
    explorer = explore(CLIPS, draw, first="d")
    assert (drawn, explorer.clip.value) == (["d"], "d")
    assert bytes(explorer.picture.value[:4]) == b"\x89PNG"
    with pytest.raises(InputError, match="no clip f in the table"):
        explore(CLIPS, draw, first="f")


def test_choosing_a_clip_draws_that_clip(draw, drawn):
    explorer = explore(CLIPS, draw)
    before = bytes(explorer.picture.value)
    explorer.clip.value = "d"
    assert drawn == ["a", "d"]
    assert bytes(explorer.picture.value[:4]) == b"\x89PNG"
    assert bytes(explorer.picture.value) != before


def test_filters_narrow_the_clips_and_draw_once(draw, drawn):
    explorer = explore(CLIPS, draw)
    explorer.actor.value = 11
    assert explorer.clip.options == ("b", "d")
    explorer.emotion.value = "sad"
    assert explorer.clip.options == ("d",)
    explorer.answer.value = "correct"  # d passes and stays, undrawn
    assert drawn == ["a", "b", "d"]


def test_the_chosen_clip_stays_when_a_filter_is_lifted(draw, drawn):
    explorer = explore(CLIPS, draw)
    explorer.emotion.value = "sad"
    explorer.emotion.value = "all"
    assert explorer.clip.options == ("a", "b", "c", "d", "e")
    assert explorer.clip.value == "c"
    assert drawn == ["a", "c"]


def test_no_clip_left_is_said_and_can_be_undone(draw, drawn):
    explorer = explore(CLIPS, draw)
    explorer.emotion.value = "angry"
    explorer.answer.value = "correct"
    assert explorer.clip.options == ()
    assert explorer.picture.value == b""
    assert "No clip" in explorer.message.value
    explorer.answer.value = "wrong"
    assert drawn == ["a", "e", "e"]
    assert explorer.message.value == ""


def test_without_answers_there_is_no_answer_filter(draw):
    assert explore(CLIPS.drop(columns="correct"), draw).answer is None


def test_the_sound_of_the_chosen_clip_is_a_wav(draw):
    tones = {name: np.sin(np.arange(700 + 100 * place)) for place, name in enumerate(CLIPS["clip"])}
    explorer = explore(CLIPS, draw, sound=lambda clip: (tones[clip], 8000))
    explorer.clip.value = "c"
    with wave.open(io.BytesIO(explorer.player.value)) as sound:
        assert (sound.getframerate(), sound.getnframes()) == (8000, 900)


def test_a_silent_clip_has_no_sound(draw):
    assert explore(CLIPS, draw, sound=lambda clip: (np.zeros(100), 8000)).player.value == b""


def test_a_clip_that_cannot_be_drawn_says_why(draw):
    def refuse(clip):
        raise InputError(f"clip {clip} has no video.")

    explorer = explore(CLIPS, refuse)
    assert explorer.message.value == "clip a has no video."
    assert explorer.picture.value == b""


def test_no_figure_stays_open(draw):
    plt.close("all")
    explorer = explore(CLIPS, draw)
    for name in CLIPS["clip"]:
        explorer.clip.value = name
    assert plt.get_fignums() == []


def test_an_empty_table_is_refused(draw):
    with pytest.raises(InputError, match="no clip to explore"):
        explore(CLIPS[:0], draw)


def many_videos(count):
    """Three clips of each of so many videos, named as MOSEI names them."""
    videos = [f"-{number:04x}_Q" for number in range(count)]
    clips = [f"{video}[{part}]" for video in videos for part in range(3)]
    emotions = ["negative", "neutral", "positive"] * count
    return pd.DataFrame({"clip": clips, "emotion": emotions, "actor": np.repeat(videos, 3)})


def test_thousands_of_actors_are_no_dropdown_and_their_clips_are_all_there(draw, drawn):
    explorer = explore(many_videos(2003), draw)
    assert explorer.actor is None
    assert len(explorer.clip.options) == 3 * 2003
    explorer.emotion.value = "positive"
    assert len(explorer.clip.options) == 2003
    explorer.clip.value = "-07d2_Q[2]"
    assert drawn == ["-0000_Q[0]", "-0000_Q[2]", "-07d2_Q[2]"]
    descriptions = [choice.description for choice in explorer.children[0].children]
    assert descriptions == ["emotion", "clip"]


@pytest.mark.parametrize("count, offered", [(50, True), (51, False)])
def test_actors_are_offered_up_to_fifty(draw, count, offered):
    assert (explore(many_videos(count), draw).actor is not None) == offered


def test_actors_with_names_of_text_filter_as_numbers_do(draw):
    explorer = explore(many_videos(7), draw)
    explorer.actor.value = "-0003_Q"
    assert explorer.clip.options == ("-0003_Q[0]", "-0003_Q[1]", "-0003_Q[2]")
