"""Attention against the truth, on cases small enough to count by hand."""

import numpy as np
import pandas as pd
import pytest

from workbook.attention.truth import confused_emotions, cues_by_clip, shares, summary

VOICE = ["voice_start", "voice_end", "voice_shows"]
TIMES = np.array([0.3, 0.9, 1.5, 2.1, 2.7, 3.3])  # six video frames


def truth_of(spans, shows=True):
    """A truth with the same span for face and voice; clips are called a, b, c, ..."""
    starts, ends = np.array(spans, dtype=float).T
    columns = {"face_start": starts, "face_end": ends, "face_shows": shows}
    columns |= {"voice_start": starts, "voice_end": ends, "voice_shows": shows}
    return pd.DataFrame(columns, index=list("abcdefghijklm"[: len(spans)]))


def video(clips, vectors, truth):
    """The `shares` of video attention at TIMES."""
    return shares(clips, {"video": np.asarray(vectors)}, {"video": TIMES}, truth)


def test_clip_seconds_become_window_seconds():
    """The cue is at 1.0 to 2.0 s of the clip; the window begins at 0.5 s, so the cue covers the frames 0.9 and 1.5."""
    clips = pd.DataFrame({"clip": ["a"], "window_start": [0.5]})
    table = video(clips, np.array([[1, 5, 2, 1, 1, 0.0]]), truth_of([(1.0, 2.0)]))
    row = table.iloc[0]
    assert (row["clip"], row["modality"]) == ("a", "video")
    assert row[["share", "chance", "lift"]].tolist() == pytest.approx([0.7, 2 / 6, 2.1])
    assert np.isnan(row["lift_elsewhere"])  # there is no other clip


def test_voice_cues_judge_audio_and_face_cues_judge_video():
    clips = pd.DataFrame({"clip": ["a"], "window_start": [0.0]})
    cues = truth_of([(0, 1.2)]).assign(voice_start=2.4, voice_end=3.6)
    vector = np.array([[3, 3, 1, 1, 1, 1.0]])
    table = shares(clips, {"video": vector, "audio": vector}, {"video": TIMES, "audio": TIMES}, cues)
    assert table.set_index("modality")["share"].to_dict() == pytest.approx({"video": 0.6, "audio": 0.2})


def test_a_cue_that_does_not_show_has_no_row_and_one_without_a_step_is_left_out_and_counted():
    clips = pd.DataFrame({"clip": list("abcde"), "window_start": 0.0})
    spans = [(0.0, 1.0), (1.0, 1.4), (5.0, 6.0), (2.0, 3.0), (1.0, 2.0)]  # b is between two steps, c after the window
    table = video(clips, np.ones((5, 6)), truth_of(spans, shows=[True] * 4 + [False]))
    assert table["share"].isna().set_axis(table["clip"]).to_dict() == {"a": False, "b": True, "c": True, "d": False}
    row = summary(table).iloc[0]
    assert (row["clips"], row["left_out"], row["p_chance"]) == (2, 2, 0.5) and row["lift"] == pytest.approx(1)
    assert np.isnan(summary(table.query("clip == 'a'")).loc[0, "p_chance"])  # one person proves nothing


def random_clips(number, rng):
    starts = rng.uniform(0, 2.4, number)
    clips = pd.DataFrame({"clip": list("abcdefghijklm"[:number]), "window_start": 0.0})
    return clips, truth_of(np.stack([starts, starts + 1.2], axis=1))


def test_attention_on_the_cue_is_sure_and_even_attention_is_not():
    clips, cues = random_clips(13, np.random.default_rng(3))
    times = np.linspace(0, 3.6, 151)
    on_cue = np.array([1.0 + 4 * ((times >= s) & (times <= e)) for s, e in cues[["face_start", "face_end"]].to_numpy()])
    found = shares(clips, {"video": on_cue, "audio": np.ones((13, 151))}, {"video": times, "audio": times}, cues)
    rows, tests = summary(found).set_index("modality"), ["p_chance", "p_elsewhere"]
    assert (rows.loc["video", tests] < 0.001).all() and (rows.loc["audio", tests] > 0.4).all()
    assert rows.loc["audio", "lift"] == pytest.approx(1)


def test_a_habit_beats_chance_but_not_the_other_clips():
    """All cues are near the middle and attention always is: that is no sign of following the cue."""
    rng = np.random.default_rng(5)
    clips, cues = random_clips(13, rng)
    middle = rng.uniform(1.7, 1.9, 13)
    cues[["face_start", "face_end"]] = np.stack([middle - 0.5, middle + 0.5], axis=1)
    times = np.linspace(0, 3.6, 151)
    habit = np.tile(np.exp(-(((times - 1.8) / 0.4) ** 2)), (13, 1))
    row = summary(shares(clips, {"video": habit}, {"video": times}, cues)).iloc[0]
    assert row["lift"] > 2 and row["p_chance"] < 0.001 and row["p_elsewhere"] > 0.05


def spans_of(truth, start=None):
    """The cues of clip a, whose window begins at `start`; None = features."""
    clips = pd.DataFrame({"clip": ["a"]} | ({} if start is None else {"window_start": [start]}))
    return cues_by_clip(clips, truth)["a"]


def test_cues_are_shifted_to_the_window_cut_at_its_ends_and_dropped_outside():
    late = truth_of([(0.2, 1.5)]).assign(voice_start=4.5, voice_end=5.0)
    assert spans_of(late, 0.7) == {"face": (0.0, pytest.approx(0.8))}
    assert spans_of(truth_of([(0.2, 1.5)], shows=False), 0.7) == {}
    assert spans_of(truth_of([(0.75, 1.5)])) == {"face": (0.75, 1.0), "voice": (0.75, 1.0)}
    assert spans_of(truth_of([(0.25, 0.5)])[VOICE]) == {"voice": (0.25, 0.5)}
    assert cues_by_clip(pd.DataFrame({"clip": ["a"]}), None) == {}


def test_shares_in_places_need_no_window_no_other_cue_and_no_order_of_the_truth():
    clips = pd.DataFrame({"clip": ["v7[3]", "-x"]})
    cues = truth_of([(0.5, 0.8), (0.2, 0.5)]).set_index(pd.Index(["-x", "v7[3]"]))[VOICE]
    vectors = np.array([[1, 3, 0, 0, 0.0], [0, 0, 0, 1, 1.0]])
    table = shares(clips, {"audio": vectors}, {"audio": np.array([0.1, 0.3, 0.5, 0.7, 0.9])}, cues)
    assert list(table["clip"]) == ["v7[3]", "-x"]
    assert list(table["share"]) == pytest.approx([0.75, 0.5])  # the steps 0.3 and 0.5, then 0.5 and 0.7
    assert list(table["lift"]) == pytest.approx([0.75 / 0.4, 0.5 / 0.4])
    assert list(table["lift_elsewhere"]) == [0, 0]  # neither looks where the other's cue is


def test_emotions_that_share_a_face_or_a_voice_are_named_together():
    names, faces, voices = ["calm", "sad", "happy", "angry"], ["rest", "droop", "smile", "rest"], ["soft", "soft"] * 2
    truth = pd.DataFrame({"emotion": names, "face_group": faces, "voice_group": voices})
    twice = pd.concat([truth, truth])
    rows = [["a face", "calm, angry"], ["a voice", "calm, sad, happy, angry"]]
    assert confused_emotions(twice).values.tolist() == rows
    assert confused_emotions(truth[["emotion"]]).empty and confused_emotions(None).empty
