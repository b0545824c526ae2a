"""A changed clip: the network's answer is that of evaluation, and each control does what it says."""

import dataclasses
import time
from math import inf

import numpy as np
import pytest
import torch

from avlib import build_model
from workbook.attention.attribution import integrated_gradients
from workbook.data.datasets import Corpus
from workbook.data.window import SAMPLE_RATE, WINDOW_SAMPLES
from workbook.evaluate.baselines import baselines
from workbook.evaluate.conditions import Context, Shift, paper_conditions
from workbook.evaluate.evaluation import attention, predict
from workbook.explore import probe as probing
from workbook.explore.explorer import Prefetcher
from workbook.explore.probe import THREE, Answer, Change, Inputs, Probe, changes_of_picture, in_words
from workbook.task import Sentiment
from workbook.train.batches import splits
from workbook.train.descriptors import TILE

FRAMES = 3


@pytest.fixture(scope="module")
def clips(small_toy):
    """The test clips of a toy corpus with sounds and pictures."""
    return splits(Corpus("toy", small_toy, frames=FRAMES, image_size=64).open_store(), 0, 8, ("audio", "video"))["test"]


def responsive(net, clips):
    """A fresh network whose norms have seen some clips: before that, it hardly notices the picture."""
    for norm in net.modules():
        if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm):
            norm.momentum = None  # the mean over all that it sees
    with torch.no_grad():
        net.train()(*clips[torch.arange(8)][:2])
    return net.eval()


@pytest.fixture(scope="module")
def net(clips):
    torch.manual_seed(7)
    return responsive(build_model("ia", 2, 8, 64), clips)


@pytest.fixture(scope="module")
def inputs(clips):
    return Inputs(clips)


@pytest.fixture(scope="module")
def probe(net, inputs):
    return Probe(net, inputs)


@pytest.fixture
def name(clips):
    return clips.table["clip"][5]


def said(probe, clip, **change):
    """The probabilities of the changed clip, by condition."""
    return probe.answer(clip, Change(**change)).outputs


def test_the_answer_to_a_clip_as_it_is_is_that_of_evaluation(net, clips, probe):
    few = clips.where(np.arange(len(clips)) < 4)
    expected = predict(net, few, THREE, fold=0, seed=1).set_index(["clip", "condition"]).filter(regex=r"^p\d")
    for clip in few.table["clip"]:
        for condition, found in said(probe, clip).items():
            assert found == pytest.approx(expected.loc[clip, condition].to_numpy(), abs=1e-6)


def test_the_attention_is_that_of_evaluation_and_has_its_times(net, clips, probe):
    few = clips.where(np.arange(len(clips)) < 2)
    expected = attention(net, few)
    answer = probe.answer(few.table["clip"][1], Change())
    for name in ("video", "audio"):
        assert answer.vectors[name] == pytest.approx(expected[name][1] / expected[name][1].mean(), rel=1e-3)
        assert answer.times[name].shape == answer.vectors[name].shape
    for direction in ("video_to_audio", "audio_to_video"):
        assert answer.maps[direction] == pytest.approx(expected[direction][1], abs=1e-4)


@pytest.mark.parametrize("modality, alone", [("audio", "V"), ("video", "A")])
@pytest.mark.parametrize("how", [{"gain": 0.0}, {"masked": ((0.0, 3.6),)}], ids=["gain 0", "masked"])
def test_a_modality_that_is_all_gone_is_missing_as_in_the_papers_test(probe, name, modality, alone, how):
    change = {f"{modality}_{key}": value for key, value in how.items()}
    assert said(probe, name, **change)["AV"] == pytest.approx(said(probe, name)[alone], abs=1e-6)


def test_the_noise_of_a_network_trained_with_noise_stands_in_for_what_is_missing(net, inputs, name):
    noisy, plain = (said(Probe(net, inputs, paper_conditions(kind)[:3]), name) for kind in ("noise", "softhard"))
    assert noisy["AV"] == pytest.approx(plain["AV"], abs=1e-6)
    for condition in ("A", "V"):
        assert np.abs(noisy[condition] - plain[condition]).max() > 1e-3
        assert np.abs(noisy[condition] - noisy["AV"]).max() > 1e-3


def test_a_shift_is_the_condition_of_this_name_and_a_gain_multiplies_as_soft_dropout_does(clips, inputs, name):
    chosen = inputs.chosen(name)
    audio, video, _ = clips[chosen]
    expected, _ = Shift(0.4)(audio, video, Context(clips, chosen, torch.Generator()))
    assert not torch.equal(expected, audio)
    torch.testing.assert_close(inputs.audio(name, Change(shift=0.4)), expected)
    torch.testing.assert_close(inputs.audio(name, Change(audio_gain=0.3)), audio * 0.3)
    torch.testing.assert_close(inputs.video(name, Change(video_gain=0.7)), video * 0.7)


def test_a_voice_is_the_sound_of_the_other_clip_under_this_face(clips, inputs, probe, name):
    other = clips.table["clip"][2]
    change = Change(voice=other)
    torch.testing.assert_close(inputs.audio(name, change), clips.audio_of(inputs.chosen(other)))
    torch.testing.assert_close(inputs.video(name, change), clips.video_of(inputs.chosen(name)))
    assert inputs.sound(name, change).tolist() == inputs.sound(other, Change()).tolist()
    assert said(probe, name, voice=other)["V"] == pytest.approx(said(probe, name)["V"], abs=1e-6)


def test_noise_is_so_many_decibels_weaker_than_the_clip(inputs, name, decibels=20):
    clean, noisy = inputs.sound(name, Change()), inputs.sound(name, Change(audio_noise=decibels))
    ratio = 10 * np.log10(np.mean(clean**2) / np.mean((noisy - clean) ** 2))
    assert ratio == pytest.approx(decibels, abs=0.1)
    assert not torch.equal(inputs.audio(name, Change(audio_noise=decibels)), inputs.audio(name, Change()))
    picture = inputs.video(name, Change(video_noise=decibels))
    assert picture.min() >= 0 and picture.max() <= 1
    assert torch.equal(picture, inputs.video(name, Change(video_noise=decibels)))


def test_masked_seconds_are_zeros_for_the_network_and_silence_to_hear(inputs, name):
    span = (1.0, 1.5)
    change = Change(audio_masked=(span,), video_masked=((0.0, 1.2),))
    audio, whole = inputs.audio(name, change), inputs.audio(name, Change())
    inside = (inputs.times["audio"] >= 1.0) & (inputs.times["audio"] <= 1.5)
    assert not audio[..., inside].any() and torch.equal(audio[..., ~inside], whole[..., ~inside])
    assert inputs.video(name, change).flatten(2).any(dim=2)[0].tolist() == [False, True, True]
    heard = inputs.sound(name, change)
    assert len(heard) == WINDOW_SAMPLES
    assert not heard[SAMPLE_RATE : round(1.5 * SAMPLE_RATE)].any() and heard[: SAMPLE_RATE - 1].any()


class Counted(torch.nn.Module):
    """A frame network that notes how many frames it describes at a time, and takes its time."""

    def __init__(self, inner, seconds=0.0):
        super().__init__()
        self.inner, self.seconds, self.sizes = inner, seconds, []

    def forward(self, images):
        time.sleep(self.seconds)
        self.sizes.append(len(images))
        return self.inner(images)


def counted(inputs, seconds=0.0):
    """A probe whose network notes its frames: `probe.net.frame_network.sizes`."""
    torch.manual_seed(7)
    net = build_model("ia", 2, 8, 64).eval()
    net.frame_network = Counted(net.frame_network, seconds)
    return Probe(net, inputs)


def test_frames_are_described_once_for_all_changes_of_the_sound(inputs, name):
    probe = counted(inputs)
    for change in ({}, {"audio_gain": 0.5}, {"shift": 0.2}, {"audio_masked": ((0, 1),)}, {"video_masked": ((0, 1),)}):
        probe.answer(name, Change(**change))
    assert probe.net.frame_network.sizes == [TILE, TILE]  # the clip's, and a black one
    probe.answer(name, Change(video_gain=0.5))
    assert probe.net.frame_network.sizes == [TILE] * 3


def test_what_is_described_ahead_is_what_one_move_of_a_slider_needs_the_nearest_first():
    gains, noises = [0.0, 0.5, 0.8, 1.0], [inf, 20.0, 10.0]
    found = changes_of_picture(Change(video_gain=0.8, video_noise=20.0, audio_gain=0.5), gains, noises)
    pairs = [(change.video_gain, change.video_noise) for change in found]
    assert pairs[0] == (0.8, 20) and set(pairs[1:]) == {(0.5, 20), (1.0, 20), (0.8, inf), (0.8, 10)}
    pairs = [(change.video_gain, change.video_noise) for change in changes_of_picture(Change(), gains, noises)]
    assert pairs == [(1.0, inf), (0.8, inf), (1.0, 20.0), (0.5, inf), (1.0, 10.0)]  # black needs no description


def test_frames_that_a_thread_is_describing_are_not_described_again(inputs, name, monkeypatch):
    monkeypatch.setattr(probing, "PIECE", 1)
    probe, background = counted(inputs, 0.1), Prefetcher()
    background.start(probe.describing(name, Change(video_gain=0.5)))
    probe.answer(name, Change(video_gain=0.5))
    background.wait(60)
    assert probe.net.frame_network.sizes == [TILE] * (FRAMES + 1)  # and a black one
    alone = counted(inputs).answer(name, Change(video_gain=0.5)).outputs["AV"]
    assert probe.answer(name, Change(video_gain=0.5)).outputs["AV"] == pytest.approx(alone, abs=1e-6)


def test_work_in_the_background_rests_while_somebody_waits():
    done, background = [], Prefetcher()

    def pieces():
        for piece in range(40):
            time.sleep(0.01)
            yield done.append(piece)

    background.start(pieces())
    with background.paused:
        time.sleep(0.05)  # the rest of a piece
        before = len(done)
        time.sleep(0.2)
        assert len(done) == before < 40
    background.wait(60)
    assert done == list(range(40))


def test_newer_work_takes_the_place_of_the_older():
    done, background = [], Prefetcher()
    background.start(done.append(time.sleep(0.02)) for _ in range(500))
    background.start(iter(()))
    background.wait(60)
    time.sleep(0.2)
    assert len(done) < 50


def test_gradients_have_a_score_for_each_input_step_and_add_up(probe, name):
    found = probe.attribution(name, Change())
    assert {modality: scores.shape for modality, scores in found.items()} == {"video": (FRAMES,), "audio": (156,)}
    clips = probe.inputs.clips
    audio, video, _ = clips[probe.inputs.chosen(name)]
    target = probe.answer(name, Change()).best
    expected = integrated_gradients(probe.net, audio, video, target, baselines(clips, "zeros"), steps=16)
    for mine, theirs in ((found["audio"], expected.audio[0]), (found["video"], expected.video[0])):
        assert mine == pytest.approx(theirs, abs=1e-2 * np.abs(theirs).max())


@pytest.mark.parametrize("sign", [1, -1])
def test_gradients_speak_for_the_answer_also_where_it_is_a_negative_score(tiny_store, sign):
    clips = splits(tiny_store, 0, 8, ("audio", "video"), fold_scheme="groups")["test"]
    features = np.random.default_rng(0).standard_normal((48, 5, 35)).astype(np.float32)
    clips.store, clips.task = dataclasses.replace(tiny_store, video=features), Sentiment()
    torch.manual_seed(0)
    net = build_model("lt", 1, 1, audio_channels=10, video_channels=35).eval()
    net.classifier.bias.data.fill_(9.0 * sign)
    probe, clip = Probe(net, Inputs(clips)), clips.table["clip"][0]
    audio, video, _ = clips[probe.inputs.chosen(clip)]
    expected = integrated_gradients(net, audio, video, 0, baselines(clips, "zeros"), steps=16)
    found = probe.attribution(clip, Change())
    for modality, raises in (("audio", expected.audio[0]), ("video", expected.video[0])):
        assert found[modality] == pytest.approx(sign * raises, abs=1e-5) and raises.any()


def test_features_have_no_sound_but_the_same_controls(tiny_store):
    clips = splits(tiny_store, 0, 8, ("audio", "video"), fold_scheme="groups")["test"]
    features = np.random.default_rng(0).standard_normal((48, 5, 35)).astype(np.float32)
    clips.store = dataclasses.replace(tiny_store, video=features)
    inputs = Inputs(clips)
    torch.manual_seed(0)
    probe = Probe(build_model("lt", 1, 8, audio_channels=10, video_channels=35), inputs)
    clip = clips.table["clip"][0]
    assert inputs.sound(clip, Change()) is None
    plain = said(probe, clip)
    for change in ({"shift": 0.2}, {"audio_noise": 3}, {"video_noise": 3}, {"video_masked": ((0, 0.5),)}):
        assert np.abs(said(probe, clip, **change)["AV"] - plain["AV"]).max() > 0
    assert said(probe, clip, video_gain=0.0)["AV"] == pytest.approx(plain["A"], abs=1e-6)


def test_the_answer_in_words_has_labels_as_text():
    answer = Answer({"AV": np.array([0.2, 0.8])}, {}, {}, {})
    assert in_words(answer, ["a", "<b>*"]).startswith("**80% &#60;b&#62;&#42;** with both modalities: ")


@pytest.mark.parametrize("fusion, asked", [("audio", ["AV", "A"]), ("video", ["AV", "V"])])
def test_a_branch_alone_is_not_asked_without_its_modality(inputs, name, fusion, asked):
    answer = Probe(build_model(fusion, 1, 8, 64), inputs).answer(name, Change())
    assert list(answer.outputs) == asked and answer.maps == {} and answer.vectors == {}


def test_a_clip_without_sound_is_asked_with_its_picture(small_toy, net, clips):
    silent = splits(clips.store, 0, 8, ("audio", "video"))["test"]
    silent.table.loc[3, "has_audio"] = False
    name = silent.table["clip"][3]
    inputs = Inputs(silent)
    assert list(Probe(net, inputs).answer(name, Change(shift=1.0)).outputs) == ["AV", "V"]
    assert inputs.sound(name, Change()) is None
