"""Attention against the truth, on cases small enough to count by hand."""

import numpy as np
import pandas as pd
import pytest

from workbook import InputError
from workbook.attention.truth import (
    alike,
    attention_share,
    chance_share,
    clips_with_cues,
    cues_in_window,
    in_words,
    shares,
    summary,
)

VOICE = ["voice_start", "voice_end", "voice_shows"]
TIMES = np.array([0.3, 0.9, 1.5, 2.1, 2.7, 3.3])  # six video frames


def truth_of(spans, shows=True):
    """A truth table with the same span for face and voice; clips are called a, b, c, ..."""
    starts, ends = np.array(spans, dtype=float).T
    names = list("abcdefghijklm"[: len(spans)])
    return pd.DataFrame(
        {
            "clip": names,
            **{f"{cue}_start": starts for cue in ("face", "voice")},
            **{f"{cue}_end": ends for cue in ("face", "voice")},
            "face_shows": shows,
            "voice_shows": shows,
        }
    )


def test_share_is_the_mass_inside_over_all_mass():
    assert attention_share([1, 2, 3, 4, 5, 5], TIMES, (0.8, 2.2)) == pytest.approx((2 + 3 + 4) / 20)


def test_share_does_not_depend_on_the_total():
    vector = np.array([1, 2, 3, 4, 5, 5.0])
    assert attention_share(vector * 7, TIMES, (0.8, 2.2)) == pytest.approx(attention_share(vector, TIMES, (0.8, 2.2)))


def test_even_attention_earns_exactly_chance():
    assert attention_share(np.full(6, 2.5), TIMES, (0.8, 1.6)) == pytest.approx(chance_share(TIMES, (0.8, 1.6)))
    assert chance_share(TIMES, (0.8, 1.6)) == pytest.approx(2 / 6)


def test_an_interval_between_two_steps_has_no_share():
    assert np.isnan(attention_share(np.ones(6), TIMES, (1.0, 1.4)))
    assert chance_share(TIMES, (1.0, 1.4)) == 0


@pytest.mark.parametrize(
    ("vector", "interval", "sentence"),
    [
        (np.ones(5), (0, 1), "6 times"),
        ([1, 1, -1, 1, 1, 1], (0, 1), "nowhere negative"),
        ([1, 1, np.nan, 1, 1, 1], (0, 1), "finite"),
        (np.zeros(6), (0, 1), "not all zero"),
        (np.ones(6), (2, 1), "start first"),
        (np.ones(6), (np.nan, 1), "start first"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(vector, interval, sentence):
    with pytest.raises(InputError, match=sentence):
        attention_share(vector, TIMES, interval)


def test_clip_seconds_become_window_seconds():
    """The cue is at 1.0 to 2.0 s of the clip; the window begins at 0.5 s, so the cue covers the frames 0.9 and 1.5."""
    clips = pd.DataFrame({"clip": ["a"], "window_start": [0.5]})
    table = shares(clips, {"video": np.array([[1, 5, 2, 1, 1, 0.0]])}, {"video": TIMES}, truth_of([(1.0, 2.0)]))
    row = table.iloc[0]
    assert (row["clip"], row["modality"]) == ("a", "video")
    assert row["share"] == pytest.approx(0.7)
    assert row["chance"] == pytest.approx(2 / 6)
    assert row["lift"] == pytest.approx(2.1)
    assert np.isnan(row["lift_elsewhere"])  # there is no other clip


def test_every_clip_meets_its_own_cue_in_any_order_of_the_truth():
    clips = pd.DataFrame({"clip": ["b", "a"], "window_start": 0.0})
    vectors = np.array([[0, 0, 0, 0, 1, 1.0], [1, 1, 0, 0, 0, 0.0]])  # b looks late, a looks early
    cues = truth_of([(0, 1.2), (2.4, 3.6)])  # a's cue is early, b's late
    table = shares(clips, {"video": vectors}, {"video": TIMES}, cues)
    assert list(table["clip"]) == ["b", "a"]
    assert list(table["share"]) == [1, 1]
    assert list(table["lift"]) == pytest.approx([3, 3])
    assert list(table["lift_elsewhere"]) == [0, 0]


def test_voice_cues_judge_audio_and_face_cues_judge_video():
    clips = pd.DataFrame({"clip": ["a"], "window_start": [0.0]})
    cues = truth_of([(0, 1.2)]).assign(voice_start=2.4, voice_end=3.6)
    vector = np.array([[3, 3, 1, 1, 1, 1.0]])
    table = shares(clips, {"video": vector, "audio": vector}, {"video": TIMES, "audio": TIMES}, cues)
    assert table.set_index("modality")["share"].to_dict() == pytest.approx({"video": 0.6, "audio": 0.2})


def test_clips_whose_cue_does_not_show_are_no_part_of_the_table():
    clips = pd.DataFrame({"clip": list("abc"), "window_start": 0.0})
    cues = truth_of([(0, 1), (1, 2), (2, 3)], shows=[True, False, True])
    table = shares(clips, {"video": np.ones((3, 6))}, {"video": TIMES}, cues)
    assert list(table["clip"]) == ["a", "c"]


def test_a_cue_without_a_step_is_left_out_and_counted():
    clips = pd.DataFrame({"clip": list("abcd"), "window_start": 0.0})
    spans = [(0.0, 1.0), (1.0, 1.4), (5.0, 6.0), (2.0, 3.0)]  # b lies between two steps, c after the window
    table = shares(clips, {"video": np.ones((4, 6))}, {"video": TIMES}, truth_of(spans))
    assert list(table["share"].isna()) == [False, True, True, False]
    row = summary(table).iloc[0]
    assert (row["clips"], row["left_out"]) == (2, 2)
    assert row["lift"] == pytest.approx(1)
    assert np.isnan(row["p_chance"])  # two clips prove nothing


def random_clips(number, rng):
    starts = rng.uniform(0, 2.4, number)
    clips = pd.DataFrame({"clip": list("abcdefghijklm"[:number]), "window_start": 0.0})
    return clips, truth_of(np.stack([starts, starts + 1.2], axis=1))


def test_attention_on_the_cue_is_sure_and_even_attention_is_not():
    clips, cues = random_clips(13, np.random.default_rng(3))
    times = np.linspace(0, 3.6, 151)
    on_cue = np.array([1.0 + 4 * ((times >= s) & (times <= e)) for s, e in cues[["face_start", "face_end"]].to_numpy()])
    found = shares(clips, {"video": on_cue, "audio": np.ones((13, 151))}, {"video": times, "audio": times}, cues)
    rows = summary(found).set_index("modality")
    assert rows.loc["video", "p_chance"] < 0.001
    assert rows.loc["video", "p_elsewhere"] < 0.001
    assert rows.loc["audio", "lift"] == pytest.approx(1)
    assert rows.loc["audio", "p_chance"] > 0.4
    assert rows.loc["audio", "p_elsewhere"] > 0.4


def test_a_habit_beats_chance_but_not_the_other_clips():
    """All cues are near the middle and attention always is: that is no sign of following the cue."""
    rng = np.random.default_rng(5)
    clips, cues = random_clips(13, rng)
    middle = rng.uniform(1.7, 1.9, 13)
    cues[["face_start", "face_end"]] = np.stack([middle - 0.5, middle + 0.5], axis=1)
    times = np.linspace(0, 3.6, 151)
    habit = np.tile(np.exp(-(((times - 1.8) / 0.4) ** 2)), (13, 1))
    row = summary(shares(clips, {"video": habit}, {"video": times}, cues)).iloc[0]
    assert row["lift"] > 2
    assert row["p_chance"] < 0.001
    assert row["p_elsewhere"] > 0.05


def test_a_truth_of_another_corpus_is_refused():
    clips = pd.DataFrame({"clip": ["z"], "window_start": [0.0]})
    with pytest.raises(InputError, match="1 clips are not in the truth, such as z"):
        shares(clips, {"video": np.ones((1, 6))}, {"video": TIMES}, truth_of([(0, 1)]))


def test_cues_in_window_are_shifted_cut_and_dropped():
    row = truth_of([(0.2, 1.5)]).assign(voice_start=4.5, voice_end=5.0).iloc[0]
    assert cues_in_window(row, window_start=0.7) == {"face": (0.0, pytest.approx(0.8))}  # the voice comes too late
    assert cues_in_window(truth_of([(0.2, 1.5)], shows=False).iloc[0], window_start=0.7) == {}


def test_cues_in_places_are_cut_at_the_end_of_the_clip():
    row = truth_of([(0.75, 1.5)]).iloc[0]
    assert cues_in_window(row, window_start=0, length=1) == {"face": (0.75, 1.0), "voice": (0.75, 1.0)}


def test_a_truth_may_know_one_cue_alone():
    row = truth_of([(0.25, 0.5)])[["clip", *VOICE]].iloc[0]
    assert cues_in_window(row, window_start=0, length=1) == {"voice": (0.25, 0.5)}


def test_shares_of_one_modality_in_places_need_no_window_and_no_other_cue():
    clips = pd.DataFrame({"clip": ["v7[3]", "-x"]})
    cues = truth_of([(0.2, 0.5), (0.5, 0.8)]).assign(clip=["v7[3]", "-x"])[["clip", *VOICE]]
    vectors = np.array([[1, 3, 0, 0, 0.0], [0, 0, 0, 1, 1.0]])
    table = shares(clips, {"audio": vectors}, {"audio": np.array([0.1, 0.3, 0.5, 0.7, 0.9])}, cues)
    assert list(table["clip"]) == ["v7[3]", "-x"]
    assert list(table["share"]) == pytest.approx([0.75, 0.5])  # the steps 0.3 and 0.5, then 0.5 and 0.7
    assert list(table["lift"]) == pytest.approx([0.75 / 0.4, 0.5 / 0.4])
    assert list(table["lift_elsewhere"]) == [0, 0]  # neither looks where the other's cue is


def test_emotions_that_share_a_face_or_a_voice_are_named_together():
    names, faces, voices = ["calm", "sad", "happy", "angry"], ["rest", "droop", "smile", "rest"], ["soft", "soft"] * 2
    cues = pd.DataFrame({"clip": list("abcd"), "emotion": names, "face_group": faces, "voice_group": voices})
    twice = pd.concat([cues, cues])
    assert alike(twice).values.tolist() == [["a face", "calm, angry"], ["a voice", "calm, sad, happy, angry"]]
    assert alike(cues.drop(columns=["face_group", "voice_group"])).empty


def test_a_clip_has_its_cues_where_both_show():
    cues = truth_of([(0, 1)] * 4, shows=[True, False, True, True])
    cues.loc[2, "voice_shows"] = False
    assert clips_with_cues(pd.DataFrame({"clip": ["d", "c", "b", "a"]}), cues) == ["d", "a"]


def test_a_cue_that_never_shows_is_no_part_of_the_choice():
    cues = truth_of([(0, 1)] * 3, shows=[True, False, True]).assign(voice_shows=False)
    assert clips_with_cues(pd.DataFrame({"clip": list("cba")}), cues) == ["c", "a"]


def test_a_clip_in_words_counts_even_steps_and_names_the_peak_and_the_cue():
    vectors = {"video": np.array([1, 1.05, 0.95, 3, 0, 0.0]), "audio": np.ones(2)}
    times = {"video": TIMES, "audio": np.array([0.9, 2.7])}
    said = in_words(vectors, times, {"face": (1.6, 2.8)}, lambda time: f"{time:.1f} s")
    assert said == (
        "In this clip 3 of 6 video steps get an even share within 10 %, the one at 2.1 s gets most (3.00 times even), "
        "those inside the cue get 1.50 times even; 2 of 2 audio steps get an even share within 10 %, the one at 0.9 s "
        "gets most (1.00 times even)."
    )
    one = in_words({"video": np.array([1.0])}, {"video": np.array([0.5])}, None, str)
    assert one == "In this clip 1 of 1 video steps get an even share within 10 %."


def test_where_no_cue_ever_shows_the_summary_is_empty_and_has_its_columns():
    cues = pd.DataFrame({"clip": ["a"], "voice_start": 0.0, "voice_end": 1.0, "voice_shows": False})
    found = shares(pd.DataFrame({"clip": ["a"]}), {"audio": np.ones((1, 4))}, {"audio": np.arange(4) / 4}, cues)
    table = summary(found).set_index("modality")
    assert table.empty and {"share", "chance", "lift", "lift_elsewhere", "p_elsewhere"} <= set(table.columns)
