"""The vectors and maps of attention, their times, and how much of them lies in the true cue."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from avlib import build_model
from avlib.mult import future_mask
from workbook.attention.truth import confused_emotions, cues_by_clip, shares, summary
from workbook.attention.vectors import (
    attention_of,
    concentration,
    concentration_sentence,
    emotion_sentence,
    maps_and_vectors,
    relative_vectors,
    step_times,
)
from workbook.data.ravdess import EMOTIONS
from workbook.evaluate.evaluation import attention
from workbook.task import Classification
from workbook.train.batches import Clips

N, H, TA, TV = 2, 3, 150, 3


def test_a_vector_that_the_network_gives_is_kept_and_a_missing_one_is_made_of_its_map(tiny_store):
    own = {"audio": np.ones((N, TA)), "video": np.ones((N, TV))}
    assert maps_and_vectors(own) == ({}, own)
    assert {name: len(times) for name, times in step_times(tiny_store, own).items()} == {"video": TV, "audio": TA}
    weights = np.random.default_rng(0).dirichlet(np.ones(TV), (N, H, TA)).astype(np.float32)
    maps, vectors = maps_and_vectors({"video_to_audio": weights})
    assert list(vectors) == ["video"] and maps.keys() == {"video_to_audio"}
    assert vectors["video"] == pytest.approx(weights.mean(axis=1).sum(axis=1), rel=1e-5)
    assert set(step_times(tiny_store, maps)) == {"audio", "video"}


def behind_mults_mask(scores):
    """Attention (N, H, Tq, Tk) of these scores, where later keys are hidden from the queries as in MULT."""
    hidden = future_mask(scores.shape[-2], scores.shape[-1], scores.device)
    return scores.masked_fill(hidden, -torch.inf).softmax(dim=-1).numpy()


def test_even_attention_behind_a_mask_has_lift_1_wherever_the_cue_is():
    tensors = {"video_to_audio": behind_mults_mask(torch.zeros(N, H, 19, 23))}
    clips, times = pd.DataFrame({"clip": list("ab")}), {"video": (np.arange(23) + 0.5) / 23}
    for start in (0, 0.4, 0.8):
        truth = pd.DataFrame({"face_start": start, "face_end": start + 0.2, "face_shows": True}, index=list("ab"))
        lift = summary(shares(clips, relative_vectors(tensors), times, truth)).iloc[0]["lift"]
        assert lift == pytest.approx(1)
    raw = summary(shares(clips, maps_and_vectors(tensors)[1], times, truth)).iloc[0]["lift"]
    assert raw < 0.7  # few queries see the end


def test_attention_in_multiples_of_even_marks_the_step_that_queries_prefer():
    scores = torch.zeros(N, H, 19, 23)
    scores[..., 20] = np.log(3)
    vector = relative_vectors({"video_to_audio": behind_mults_mask(scores)})["video"]
    assert (vector.argmax(axis=1) == 20).all() and vector[:, 20] == pytest.approx(3 / (1 + 2 / 22), rel=0.02)
    own = {"video": np.array([[1.0, 2, 6]]), "video_to_audio": np.ones((1, 1, 2, 3))}
    assert relative_vectors(own)["video"].tolist() == [[1 / 3, 2 / 3, 2]]


def test_concentration_goes_from_even_to_one_key_for_each_head():
    even, sharp, hidden = np.full((2, 4), 0.25), np.eye(4)[[0, 0]] * (1 - 3e-9) + 1e-9, np.array([[0.5, 0.5, 0, 0]] * 2)
    maps = np.stack([even, sharp, hidden])[None]  # (1, 3 heads, 2 queries, 4 keys)
    assert concentration(maps) == pytest.approx([0, 1, 0], abs=1e-6)
    assert concentration(np.ones((3, 2, 5, 1))).tolist() == [0, 0]
    sentence = concentration_sentence({"video_to_audio": maps})
    assert sentence.startswith("**0.0, 100.0, 0.0 %** as audio looks at video: ")
    assert concentration_sentence({}) == "This fusion returns no maps."


def test_the_attention_of_clips_holds_all_that_their_figures_need(tiny_store, tmp_path):
    table = tiny_store.clips.assign(emotion=[EMOTIONS[label] for label in tiny_store.clips["label"]])
    store = replace(tiny_store, clips=table)
    clips = Clips(store, np.arange(16), table["label"][:16], Classification(EMOTIONS))
    names = clips.table["clip"].to_list()
    truth = pd.DataFrame({"face_start": 0.5, "face_end": 2.0, "face_shows": False}, index=names)
    truth.loc[names[5], "face_shows"] = True
    torch.manual_seed(0)
    net = build_model("ia", image_size=64)
    found = attention_of(net, clips, truth)
    tensors = attention(net, clips)
    assert found.example == names[5] and found.row(names[5]) == 5 and found.cues[names[5]] == {"face": (0.5, 1.0)}
    for name, vector in found.vectors.items():
        np.testing.assert_array_equal(vector, tensors[name])
        assert found.relative[name].mean(axis=1) == pytest.approx(1)
        emotion = EMOTIONS[clips.labels[3]]
        means = found.relative[name][[3, 11]].mean(axis=0)  # two clips of each emotion
        assert found.by_emotion()[name].loc[emotion].to_numpy() == pytest.approx(means)
    assert emotion_sentence(found.by_emotion()).startswith("**")
    found.save(tmp_path / "attention.npz")
    saved = np.load(tmp_path / "attention.npz")
    assert saved["clip"].tolist() == names and saved["video"].shape == (16, 3)
    assert saved["audio_times"].shape == saved["audio"].shape[1:]


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
    away = summary(shares(clips, {"video": 6 - on_cue}, {"video": times}, cues)).loc[0, tests]
    assert (away > 0.99).all(), "attention that avoids the cue is no sign of following it"


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
