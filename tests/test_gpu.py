"""What runs on a GPU, on one that is not there (pretend_gpu): in float32 it gives what the CPU gives."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from pretend_gpu import pretend_gpu

from avlib import build_model
from avlib.dropout import DROPOUTS
from avlib.fusion import FUSIONS
from avlib.model import precision
from workbook import InputError
from workbook.attention.attribution import answer_branches, answer_gradients, grad_cam, integrated_gradients
from workbook.attention.faithfulness import cascade, curves, orders
from workbook.attention.perturbation import attention_changed, segment_clips
from workbook.data.ravdess import EMOTIONS
from workbook.evaluate.baselines import baselines
from workbook.evaluate.conditions import FILLS, Both, Gone, Intact, Shift, paper_conditions
from workbook.evaluate.corruptions import Blurred, Coarse, Covered, Dark
from workbook.evaluate.evaluation import attention, predict
from workbook.explore.probe import Change, Inputs, Probe
from workbook.task import Classification
from workbook.train import sharing
from workbook.train.batches import Clips
from workbook.train.pretraining import FrameClassifier, recognise, teach
from workbook.train.training import fit, optimizer_and_schedule, train_epoch

FEATURES, ACTORS = 11, 3
SETTINGS = {"batch_size": 4, "learning_rate": 1e-4, "seed": 3}


@pytest.fixture(scope="module")
def frames(tiny_store):
    """A function that makes the first clips of frames on a device."""
    return lambda device, count=8: clips_of(tiny_store, device, count)


@pytest.fixture(scope="module")
def features(tiny_store):
    """A function that makes short clips of features on a device."""
    video = np.random.default_rng(1).standard_normal((48, 3, FEATURES), np.float32)
    store = replace(tiny_store, audio=tiny_store.audio[..., :29], video=video)
    return lambda device, count=8: clips_of(store, device, count)


def clips_of(store, device, count):
    clips = Clips(store, np.arange(count), store.clips["label"].to_numpy()[:count], Classification(EMOTIONS), device)
    clips.table = clips.table.assign(actor=np.arange(count) % ACTORS)
    return clips


def network(clips, fusion="ia"):
    torch.manual_seed(5)
    features = 0 if clips.has_frames else FEATURES
    return build_model(fusion, image_size=64, classes=clips.task.outputs, video_channels=features)


def history(clips, folder, epochs=1, fusion="ia", **settings):
    """The history of a run; a run in the same folder goes on."""
    folder.mkdir(exist_ok=True)
    training = SETTINGS | {"dropout": "softhard"} | settings
    return pd.DataFrame(fit(network(clips, fusion), clips, clips, folder, epochs=epochs, **training))


def assert_same(card: pd.DataFrame, cpu: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(card, cpu, rtol=1e-3, atol=1e-3)


@pytest.fixture(autouse=True)
def sharing_pays(monkeypatch):
    """The trial of sharing, which goes by the clock, ends alike in every run."""
    monkeypatch.setattr(sharing, "is_faster", lambda *_: True)


@pytest.mark.parametrize("dropout", DROPOUTS)
def test_every_dropout_trains_on_frames_as_on_the_cpu(dropout, frames, tmp_path):
    with pretend_gpu(has_bfloat16=False):
        card = history(frames("cuda", 4), tmp_path / "card", dropout=dropout)
    assert_same(card, history(frames("cpu", 4), tmp_path / "cpu", dropout=dropout))


@pytest.mark.parametrize("fusion", sorted(FUSIONS.keys() - {"mult"}))  # its dropout draws other numbers on a GPU
def test_every_fusion_trains_as_on_the_cpu(fusion, features, tmp_path):
    with pretend_gpu(has_bfloat16=False):
        card = history(features("cuda", 4), tmp_path / "card", fusion=fusion)
    assert_same(card, history(features("cpu", 4), tmp_path / "cpu", fusion=fusion))


@pytest.mark.parametrize("fusion", ["ia", "mult"])
def test_an_interrupted_run_resumes_bit_for_bit(fusion, features, tmp_path):
    """Also of mult, whose dropout draws from the GPU's global generator."""
    with pretend_gpu():
        through = history(features("cuda"), tmp_path / "through", 2, fusion)
        history(features("cuda"), tmp_path / "broken", 1, fusion)
        torch.rand(99, device="cuda")  # what happens in between must not matter
        pd.testing.assert_frame_equal(history(features("cuda"), tmp_path / "broken", 2, fusion), through)


def test_a_run_of_a_gpu_goes_on_without_it(features, tmp_path):
    with pretend_gpu():
        history(features("cuda"), tmp_path, 1, "mult")
    assert len(history(features("cpu"), tmp_path, 2, "mult")) == 2
    with pretend_gpu():
        assert len(history(features("cuda"), tmp_path, 3, "mult")) == 3


def test_a_frozen_frame_network_describes_on_the_gpu(frames, tmp_path):
    with pretend_gpu(has_bfloat16=False):
        card = history(frames("cuda"), tmp_path / "card", train_vision=False)
    assert_same(card, history(frames("cpu"), tmp_path / "cpu", train_vision=False))


@pytest.mark.parametrize("dropout, waits", [("softhard", 0), ("sampled", 3)])
def test_a_step_copies_three_lists_of_positions_and_waits_only_where_rows_are_left_out(dropout, waits, frames):
    with pretend_gpu() as card:
        train_counted(card, frames("cuda", 4), dropout)  # the weights of shared norms are copied once
        few, many = (train_counted(card, frames("cuda", count), dropout) for count in (4, 12))
    assert many[1] - few[1] == 2 * waits and (dropout == "sampled" or many[0] - few[0] == 2 * 3)


def train_counted(card, clips, dropout):
    """The copies and the waits of one epoch in batches of four clips."""
    net = network(clips).to(clips.device)
    sgd, _ = optimizer_and_schedule(net, 0.01, "paper")
    generators = {"order": torch.Generator(), "device": torch.Generator(clips.device).manual_seed(2)}
    card.copies.clear(), card.waits.clear()
    train_epoch(net, clips, sgd, dropout=dropout, batch_size=4, generators=generators)
    return card.copies.total(), card.waits.total()


def test_bfloat16_is_for_cards_that_compute_in_it():
    for has_bfloat16, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        with pretend_gpu(has_bfloat16), precision(torch.device("cuda")):
            assert torch.nn.Linear(2, 2).to("cuda")(torch.rand(1, 2).to("cuda")).dtype == dtype


def conditions():
    """All kinds, but voices."""
    fills = FILLS.keys() - {"silence", "noise"}
    gone = [Gone(name, 0.5, fill=fill) for name in ("audio", "video") for fill in sorted(fills)]
    gone += [Gone("video", 0.5, "scattered"), Gone("audio", 0.5, fill="noise")]
    pictures = [Blurred(5), Dark(50), Coarse(4), Covered(50)]
    own = {condition.name: condition for condition in paper_conditions("noise")}  # those with zeros and with noise
    return [*own.values(), Both(Gone("audio"), Gone("video")), *gone, *pictures, Shift(0.2)]


def test_every_condition_is_the_one_of_the_cpu(frames):
    cpu = frames("cpu")
    net, settings = network(cpu), {"fold": 0, "seed": 1, "batch_size": 4}
    expected = predict(net, cpu, conditions(), **settings)
    with pretend_gpu(has_bfloat16=False):
        net.to("cuda")
        assert_same(predict(net, frames("cuda"), conditions(), **settings), expected)


def test_attention_is_that_of_the_cpu(frames):
    net = network(frames("cpu"))
    expected = attention(net, frames("cpu"))
    with pretend_gpu(has_bfloat16=False):
        found = attention(net.to("cuda"), frames("cuda"))
    for name, weights in expected.items():
        np.testing.assert_allclose(found[name], weights, atol=1e-4)


def test_clips_are_kept_on_the_gpu_for_training_alone(frames, features, tmp_path, monkeypatch):
    with pretend_gpu() as card:
        clips = frames("cuda")
        predict(network(clips).to("cuda"), clips.with_both, [Intact()], fold=0, seed=1)
        assert not clips._on_device, "evaluation reads each clip once"
        clips.keep_on_device()
        card.copies.clear()
        batch = clips[torch.arange(4)]
        assert card.copies.total() == 3 and torch.equal(batch[1].cpu(), frames("cpu")[torch.arange(4)][1])
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (100_000, 2**40))
        full = frames("cuda")
        full.keep_on_device()
        assert not full._on_device and torch.equal(full[torch.arange(4)][1].cpu(), batch[1].cpu())


def test_a_full_gpu_is_one_sentence(features, tmp_path, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total of 14 GiB")

    monkeypatch.setattr(sharing, "forward", full)
    sentence = r"the memory of the GPU is full: give a smaller batch_size, or fewer --jobs .* \(CUDA out of memory\)"
    with pretend_gpu(), pytest.raises(InputError, match=sentence):
        history(features("cuda"), tmp_path)


@pytest.mark.parametrize("shared, plain, chosen", [(1, 2, "forward"), (2, 1, "plain_forward")])
def test_a_gpu_shares_frames_where_that_is_faster(shared, plain, chosen, features, tmp_path, monkeypatch):
    monkeypatch.undo()
    calls, seconds = [], {"forward": shared, "plain_forward": plain}
    for name in seconds:
        real = getattr(sharing, name)
        timed = lambda *arguments, name=name, real=real: calls.append(name) or real(*arguments)  # noqa: E731
        monkeypatch.setattr(sharing, name, timed)
    monkeypatch.setattr("workbook.train.sharing.time.perf_counter", lambda: sum(map(seconds.get, calls)))
    with pretend_gpu():
        history(features("cuda"), tmp_path)
    assert calls == ["forward", "plain_forward"] * sharing.TRIALS + [chosen] * 2
    calls.clear()
    history(features("cpu"), tmp_path / "cpu")
    assert calls == ["forward"] * 2, "a CPU always shares"


def test_every_method_of_attribution_is_that_of_the_cpu(frames):
    net, results = network(frames("cpu")), []

    def attribute(clips):
        nothing, (audio, video, labels) = baselines(clips, "mean"), clips[torch.arange(2)]
        pair = clips.where(np.arange(len(clips)) < 2)
        pair.table = pair.table.assign(emotion="calm")
        scores = integrated_gradients(net, audio, video, labels, nothing, steps=4)
        parts = [scores.audio, scores.video, answer_gradients(net, pair, nothing, steps=4)["video"]]
        results.append([*parts, answer_branches(net, pair, nothing, steps=4)[["audio", "video"]].to_numpy(float)])
        return grad_cam(net, audio, video, labels)

    attribute(frames("cpu"))
    with pretend_gpu(has_bfloat16=False):
        net.to("cuda")
        assert attribute(frames("cuda")).max() <= 1
    for cpu, card in zip(*results, strict=True):
        np.testing.assert_allclose(card, cpu, atol=1e-3 * np.abs(cpu).max())


def test_deletion_and_shuffled_weights_run_on_the_gpu(features):
    with pretend_gpu():
        clips = features("cuda", 4)
        segmented = segment_clips(network(clips).to("cuda"), clips, "mean", most=3)
        assert len(curves(segmented, orders(segmented), draws=1)) and len(attention_changed(segmented, draws=1))
        assert len(cascade(segmented, draws=1, steps=2))


def test_frames_teach_and_are_recognised_on_the_gpu(frames, tmp_path):
    clips = frames("cpu")
    video = clips.store.video[:, :1]
    with pretend_gpu():
        single = replace(clips, store=replace(clips.store, video=video), device="cuda", modalities=("video",))
        net = FrameClassifier("efficientface", 64, 8)
        (row,) = teach(net, {"train": single, "validation": single}, tmp_path, epochs=1, seed=1)
        assert np.isfinite(row["train_loss"]) and len(recognise(net, single)) == len(single)


def test_the_explorer_answers_on_the_gpu_as_on_the_cpu(frames):
    def answer(device):
        probe = Probe(net.to(device), Inputs(frames(device)))
        change = Change(video_gain=0.5, video_masked=((0.0, 1.0),), audio_masked=((0.0, 1.0),))
        return [probe.answer("clip01", each).outputs["AV"] for each in (Change(), change)]

    net = network(frames("cpu"))
    expected = answer("cpu")
    with pretend_gpu(has_bfloat16=False):
        np.testing.assert_allclose(answer("cuda"), expected, atol=1e-4)
