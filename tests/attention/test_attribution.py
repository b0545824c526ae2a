"""Attribution and Grad-CAM point at the part that decides, in networks whose weights are set by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from avlib import FUSIONS, build_model
from avlib.fusion import STAGE2, Fusion
from workbook import InputError
from workbook.attention.attribution import (
    answer_branches,
    answer_gradients,
    branches,
    branches_sentence,
    grad_cam,
    heat_sentence,
    integrated_gradients,
    last_maps,
)
from workbook.data.audio import mfcc
from workbook.data.ravdess import EMOTIONS
from workbook.data.store import Store
from workbook.data.window import WINDOW_SAMPLES
from workbook.evaluate.baselines import Baselines, baselines
from workbook.task import Classification
from workbook.train.batches import Clips
from workbook.train.descriptors import describe_once

N, CA, TA, TV, CV, S = 2, 5, 31, 11, 7, 64
HEARD, SEEN = 0, 1  # the class that the sound speaks for, and that of the picture


class Product(Fusion):
    """The means of both first channels, multiplied: neither says anything alone. It begins with in-place ReLUs."""

    def after_stage1(self, audio, video):
        return torch.relu_(audio), torch.relu_(video), {}

    def pool(self, audio, video):
        pooled = super().pool(audio, video)
        return torch.cat([pooled[:, :1] * pooled[:, STAGE2[0], None], 0 * pooled[:, 1:]], dim=1)


@torch.no_grad()
def set_by_hand(net, channels):
    """The net with other weights: a class is the mean over time of one channel, channels : {class: channel}.

    Convolutions pass the first channel's positive values on; pooling in time lets a value last a step longer.
    """
    for module in [*net.audio.modules(), *net.video.modules()]:
        if isinstance(module, nn.Conv1d):
            nn.init.zeros_(module.weight), nn.init.zeros_(module.bias)
            module.weight[0, 0, 1] = 1
    nn.init.zeros_(net.classifier.weight), nn.init.zeros_(net.classifier.bias)
    for number, channel in channels.items():
        net.classifier.weight[number, channel] = 1
    return net.eval()


def by_hand(monkeypatch, entry=Fusion):
    """A net in which class HEARD is the mean over time of the sound's first channel, SEEN that of the picture's."""
    monkeypatch.setitem(FUSIONS, "known", entry)
    net = build_model("known", classes=3, audio_channels=CA, video_channels=CV)
    return set_by_hand(net, {HEARD: 0, SEEN: STAGE2[0]})


def zeros(audio, video):
    return Baselines(torch.zeros_like(audio[:1]), torch.zeros_like(video[:1]), "zeros")


@pytest.fixture
def clips():
    """Sounds and pictures in which the first channel holds something at one step of its own, others noise."""
    generator = torch.Generator().manual_seed(0)
    audio, video = torch.rand(N, CA, TA, generator=generator), torch.rand(N, TV, CV, generator=generator)
    audio[:, 0], video[..., 0] = 0, 0
    audio[0, 0, 13], audio[1, 0, 17] = 19, 23
    video[0, 3, 0], video[1, 5, 0] = 2, 3
    return audio, video


def test_scores_are_what_the_steps_bring(monkeypatch, clips):
    net = by_hand(monkeypatch)
    audio, video = clips
    video[0, :, 0] = torch.arange(TV)
    expected = np.arange(TV) / TV
    result = integrated_gradients(net, audio, video, torch.tensor([SEEN, HEARD]), zeros(audio, video))
    assert result.video[0] == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert not result.video[1].any() and result.audio[1].argmax() == 17


def test_in_a_sum_nothing_is_said_together_and_in_a_product_everything(monkeypatch, clips):
    table = branches(by_hand(monkeypatch), *clips, HEARD, zeros(*clips))
    assert table["audio"].to_numpy() == pytest.approx(table["change"]) and not table["video"].any()
    assert table["together"].to_numpy() == pytest.approx(0, abs=1e-6)
    table = branches(by_hand(monkeypatch, Product), *clips, HEARD, zeros(*clips))
    assert (table["change"] > 0).all() and table["together"].to_numpy() == pytest.approx(table["change"])
    assert table["audio"].to_numpy() == pytest.approx(table["change"] / 2, rel=0.01)
    assert table["video"].to_numpy() == pytest.approx(table["change"] / 2, rel=0.01)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_has_scores_for_what_it_reads(clips, fusion):
    torch.manual_seed(0)
    net = build_model(fusion, classes=3, audio_channels=CA, video_channels=CV)
    result = integrated_gradients(net, *clips, torch.tensor([2, 0]), zeros(*clips))
    for name, steps in (("audio", TA), ("video", TV)):
        scores = getattr(result, name)
        assert (scores is not None) == (name in net.fusion.modalities)
        assert scores is None or (scores.shape == (N, steps) and scores.any() and np.isfinite(scores).all())
    table = branches(net, *clips, 1, zeros(*clips))
    assert all(table[name].any() == (name in net.fusion.modalities) for name in ("audio", "video"))


def test_the_jump_of_mult_at_zeros_is_seen_as_incomplete_and_another_baseline_has_none(clips):
    torch.manual_seed(0)
    net = build_model("mult", classes=3, audio_channels=CA, video_channels=CV)
    aside = Baselines(*(value + 0.01 for value in zeros(*clips)[:2]), "aside")
    assert integrated_gradients(net, *clips, 1, zeros(*clips)).incomplete > 0.2
    assert integrated_gradients(net, *clips, 1, aside, steps=128).incomplete < 0.05


@pytest.fixture(scope="module")
def learnt(tiny_store):
    """A network of frames that has learnt the labels of 16 clips of the tiny store, and these."""
    clips = tiny_store.clips.assign(emotion=[EMOTIONS[label] for label in tiny_store.clips["label"]])
    store = replace(tiny_store, clips=clips)
    every = Clips(store, np.arange(16), clips["label"][:16], Classification(EMOTIONS))
    torch.manual_seed(0)
    net = build_model("ia", image_size=64)
    behind, described = describe_once(net, every)
    optimizer = torch.optim.Adam(behind.parameters(), 0.003)
    audio, video, labels = described[torch.arange(16)]
    for _ in range(15):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(behind.train()(audio, video).logits, labels)
        loss.backward()
        optimizer.step()
    assert loss < 0.5
    return net.eval(), every


@pytest.mark.parametrize("name", ["zeros", "mean"])
def test_integrated_gradients_are_complete_within_five_percent(learnt, name):
    net, every = learnt
    audio, video, labels = every[torch.tensor([5, 9, 14])]
    baseline = baselines(every, name)
    result = integrated_gradients(net, audio, video, labels, baseline, 64)
    assert result.incomplete < 0.05
    with torch.no_grad():
        whole, nothing = net(audio, video).logits, net(*baseline[:2]).logits
    assert result.change == pytest.approx((whole - nothing)[torch.arange(3), labels].numpy(), rel=1e-3, abs=1e-4)
    table = branches(net, audio, video, labels, baseline)
    assert (table["audio"] + table["video"]).to_numpy() == pytest.approx(table["change"], rel=0.05, abs=0.02)


def test_the_answers_of_clips_are_attributed_as_their_outputs_are(learnt):
    net, every = learnt
    baseline, some = baselines(every, "mean"), torch.tensor([5, 9, 14])
    audio, video, _ = every[some]
    with torch.no_grad():
        answers = net(audio, video).logits.argmax(dim=1)
    gradients = integrated_gradients(net, audio, video, answers, baseline, 8)
    scores, table = answer_gradients(net, every, baseline, 8), answer_branches(net, every, baseline, 8)
    for name in ("audio", "video"):
        assert scores[name][some.numpy()] == pytest.approx(getattr(gradients, name), rel=1e-3, abs=1e-5)
    expected = branches(net, audio, video, answers, baseline, 8)
    assert table.loc[some.tolist(), [*expected]].to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-3, abs=1e-5)
    assert table["emotion"].tolist() == every.table["emotion"].tolist()
    mean = table["audio"].mean()
    sentence = branches_sentence(table)
    assert sentence.startswith(f"**{mean:+.2f}** by audio") and sentence.endswith("over 16 clips.")


def store_of(audio, video, manifest=None, **columns):
    table = pd.DataFrame({"clip": list("abc"), "actor": 1, "label": 0, "has_audio": True} | columns)
    store = Store(None, table, video, audio, pd.DataFrame(), {"fingerprint": ""} | (manifest or {}))
    return Clips(store, np.arange(3), table["label"], Classification(EMOTIONS))


@pytest.fixture
def three():
    """Three clips with faces, of which one has no picture."""
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (3, 2, S, S, 3), dtype=np.uint8)
    faces[1] = 0
    audio = rng.normal(size=(3, 10, 156)).astype(np.float32)
    plan = {"plan": {"settings": {"audio_features": "mfcc"}}}
    return store_of(audio, faces, plan, has_video=[True, False, True], audio_path="somewhere.wav")


def test_silence_is_the_sound_of_no_sound_and_features_have_none(three, clips):
    result = baselines(three, "silence")
    assert result.audio[0].numpy() == pytest.approx(mfcc(np.zeros(WINDOW_SAMPLES, np.float32)))
    assert result.audio[0, 0, 0] < -500 and not result.video.any()
    with pytest.raises(InputError, match="features know no silence"):
        baselines(store_of(*(torch.cat([part, part[:1]]).numpy() for part in clips)), "silence")


def test_the_mean_is_over_steps_and_over_the_clips_that_have_the_modality(three):
    result = baselines(three, "mean")
    assert result.audio[0, :, 77].numpy() == pytest.approx(three.store.audio.mean(axis=(0, 2)), abs=1e-5)
    face = three.store.video[[0, 2]].mean(axis=(0, 1)).transpose(2, 0, 1) / 255
    assert result.video[0, 1].numpy() == pytest.approx(face, abs=1e-5)
    assert result.video.shape == (1, 2, 3, S, S)
    three.table["has_video"] = False
    assert not baselines(three, "mean").video.any()


def test_grad_cam_is_bright_where_the_network_looks():
    """A frame network that averages red in squares of 8 pixels; a network of pictures alone adds the squares up."""
    torch.manual_seed(0)
    net = set_by_hand(build_model("video", classes=3, video_channels=CV), {1: 0})
    squares = nn.Conv2d(3, CV, 8, stride=8, bias=False)
    with torch.no_grad():
        squares.weight.zero_()[0, 0] = 1 / 64
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.frame_network = nn.Sequential(squares, nn.BatchNorm2d(CV), nn.ReLU(inplace=True), pool).eval()
    audio, video = torch.zeros(N, CA, TA), torch.zeros(N, 3, 3, S, S)
    video[0, 1, 0, 8:16, 40:48], video[0, 2, 0, 32:40, 16:24] = 1.0, 0.5
    video[1, 0, 2] = 1  # all blue: nothing
    heat = grad_cam(net, audio, video, 1)
    assert heat.shape == (N, 3, S, S) and heat.min() == 0 and heat.max() == pytest.approx(1)
    assert not heat[1].any() and not heat[0, 0].any()
    row, column = np.unravel_index(heat[0, 1].argmax(), (S, S))
    assert 8 <= row < 16 and 40 <= column < 48
    assert heat[0, 2].max() == pytest.approx(0.5, rel=0.01) and heat[0, 2, 36, 20] > 0.4
    assert not grad_cam(net, audio, -video, 0).any()
    times, share = np.array([0.6, 1.8, 3.0]), 100 * heat[0, 1].sum() / heat[0].sum()
    assert heat_sentence(heat[0], times).startswith(f"**{share:.0f} %**") and "1.80 s" in heat_sentence(heat[0], times)
    assert heat_sentence(heat[1], times) == "No place in the faces speaks for the answer."


def test_the_last_maps_are_found_in_any_frame_network():
    video = torch.rand(1, 2, 3, S, S)
    net = build_model(image_size=S)
    assert last_maps(net, video) is net.frame_network.last
    net = build_model(image_size=S, vision="timm:resnet18")
    assert last_maps(net, video) is net.frame_network.network.layer4
    assert not any(part._forward_hooks for part in net.modules())
    net.frame_network = nn.Sequential(nn.Flatten(), nn.Linear(3 * S * S, 3))
    with pytest.raises(InputError, match="maps"):
        last_maps(net, video)
