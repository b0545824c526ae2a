"""Training: it learns, resumes bit for bit after any end, and gives memory back."""

import copy
import platform
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from avlib import build_model, modality_dropout
from workbook import ROOT, InputError
from workbook.data.ravdess import EMOTIONS
from workbook.task import Classification
from workbook.train.batches import Clips
from workbook.train.training import augment, fit, informative, optimizer_and_schedule, train_epoch, train_step

EMOTION = Classification(EMOTIONS)


def parts(store, *device):
    """Clips to train on and to validate with."""
    labels = store.clips.label.to_numpy()
    return [Clips(store, rows, labels[rows], EMOTION, *device) for rows in (np.arange(32), np.arange(32, 48))]


@pytest.fixture(scope="module")
def clips(tiny_store):
    return parts(tiny_store)


def run(folder, clips, epochs, stop_after=None, fusion="ia", dropout="softhard", features=0, weights_seed=3, **more):
    """The history of a run in `folder`, which is left in the lurch after `stop_after` epochs."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(weights_seed)
    net = build_model(fusion, image_size=64, video_channels=features)
    rows = []
    settings = {"dropout": dropout, "epochs": epochs, "batch_size": 8, "learning_rate": 0.1, "seed": 3}
    for row in fit(net, *clips, folder, **settings, **more):
        rows.append(row)
        if len(rows) == stop_after:
            break
    return rows


def same_weights(*folders):
    """Whether the best networks of two runs are equal in every bit."""
    one, other = (load_file(folder / "model.safetensors") for folder in folders)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("fusion, features", [("ia", 0), ("lt", 11), ("mult", 11)])
def test_an_interrupted_run_ends_with_the_same_numbers_bit_for_bit(fusion, features, tmp_path, clips):
    """Also of mult, which has a dropout of its own, from torch's global generator."""
    if features:
        audio, video = clips[0].store.audio[..., :29], np.random.default_rng(1).standard_normal((48, 3, features))
        store = replace(clips[0].store, audio=audio, video=video.astype(np.float32))
        clips = [replace(split, store=store) for split in clips]
    settings = {"epochs": 2, "fusion": fusion, "features": features}
    whole = run(tmp_path / "whole", clips, **settings)
    run(tmp_path / "broken", clips, stop_after=1, **settings)
    torch.rand(99)  # what happens in between must not matter
    resumed = run(tmp_path / "broken", clips, **settings)
    assert resumed == whole
    assert same_weights(tmp_path / "whole", tmp_path / "broken")


def test_a_first_epoch_that_is_interrupted_begins_again_from_the_same_weights(tmp_path, clips):
    def stop(done, total, loss):
        raise KeyboardInterrupt

    whole = run(tmp_path / "whole", clips, epochs=1)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", clips, epochs=1, progress=stop)
    assert run(tmp_path / "broken", clips, epochs=1, weights_seed=4) == whole


@pytest.mark.parametrize("content", [b"no checkpoint", "cut", "another network"])
def test_a_damaged_checkpoint_is_one_sentence(content, tmp_path, clips):
    run(tmp_path, clips, epochs=1, fusion="audio", dropout="none")
    path = tmp_path / "checkpoint.pt"
    if content == "another network":
        torch.save({"net": {"video.front.stem": torch.zeros(1)}}, path)
    else:
        path.write_bytes(path.read_bytes()[:1000] if content == "cut" else content)
    with pytest.raises(InputError, match=r"checkpoint.pt is damaged or of another network: resume = F"):
        run(tmp_path, clips, epochs=2, fusion="audio", dropout="none")


def test_a_loss_that_is_no_number_ends_the_run_with_one_sentence(tmp_path, clips):
    net = build_model("audio", image_size=64)
    settings = {"dropout": "none", "epochs": 3, "batch_size": 8, "learning_rate": 1e30, "seed": 3}
    with pytest.raises(InputError, match=r"the loss is not finite in epoch 1: give a learning_rate below 1e\+30"):
        list(fit(net, *clips, tmp_path, **settings))
    assert not (tmp_path / "model.safetensors").exists()


def test_a_branch_alone_is_not_taught_by_variants_of_the_other_one(tiny_store, monkeypatch):
    labels = tiny_store.clips.label.to_numpy()
    heard = Clips(tiny_store, np.arange(48), labels, EMOTION, modalities=("audio",))
    net, sounds = build_model("audio", image_size=64), []
    monkeypatch.setattr(net, "fuse", lambda audio, video: sounds.append(audio) or type(net).fuse(net, audio, video))
    optimizer, _ = optimizer_and_schedule(net, 0.01, "paper")
    generators = {"order": torch.Generator(), "device": torch.Generator()}
    train_epoch(net, heard, optimizer, dropout="softhard", batch_size=16, generators=generators)
    assert len(torch.cat(sounds)) == 3 * 48, "full, softened and without picture; not without sound"


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = ["tests", "tests/train"]
from test_training import parts, run
from workbook.data.store import Store
run(Path(sys.argv[2]), parts(Store.open(sys.argv[1])), epochs=20, fusion="audio", dropout="none")
"""


def test_a_run_killed_at_any_moment_ends_with_the_same_numbers(tmp_path, tiny_store, clips):
    folder, history = tmp_path / "killed", tmp_path / "killed" / "history.csv"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tiny_store.path), str(folder)], cwd=ROOT)
    while not history.exists() or len(pd.read_csv(history)) < 3:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    process.kill()
    process.wait()
    resumed = run(folder, clips, epochs=20, fusion="audio", dropout="none")
    assert resumed == run(tmp_path / "whole", clips, epochs=20, fusion="audio", dropout="none")
    assert same_weights(tmp_path / "whole", folder)


def test_the_network_learns_and_its_best_epoch_is_kept(tmp_path, clips):
    rows = run(tmp_path / "run", clips, epochs=6, fusion="audio", dropout="none")
    best = max(rows, key=lambda row: row["validation_accuracy"])
    assert best["validation_accuracy"] > 50  # chance is 12.5
    net = build_model("audio", image_size=64)
    net.load_state_dict(load_file(tmp_path / "run" / "model.safetensors"))
    audio, video, labels = clips[1][torch.arange(16)]
    right = (net.eval()(audio, video).logits.argmax(dim=1) == labels).float().mean()
    assert 100 * float(right) == pytest.approx(best["validation_accuracy"])


def test_the_history_on_disk_is_the_history_returned_and_a_finished_run_is_not_trained_again(tmp_path, clips):
    rows = run(tmp_path / "run", clips, epochs=2, fusion="audio", dropout="none")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "run" / "history.csv"), pd.DataFrame(rows))
    assert not list((tmp_path / "run").glob(".*"))
    written = (tmp_path / "run" / "checkpoint.pt").stat().st_mtime_ns
    assert run(tmp_path / "run", clips, epochs=2, fusion="audio", dropout="none") == rows
    assert (tmp_path / "run" / "checkpoint.pt").stat().st_mtime_ns == written


RATES = {"paper": {1: 0.04, 12: 0.04, 13: 4e-3}}  # one best epoch, ten bad ones, and the next falls
RATES["authors"] = {1: 0.04, 39: 0.04, 40: 4e-3, 54: 4e-3, 55: 4e-4, 65: 4e-5, 70: 4e-6, 100: 4e-6}


@pytest.mark.parametrize("protocol, rates", RATES.items())
def test_the_learning_rate_falls_as_the_protocol_says(protocol, rates):
    sgd, schedule = optimizer_and_schedule(build_model("audio"), 0.04, protocol)
    for epoch in range(1, max(rates) + 1):
        assert epoch not in rates or sgd.param_groups[0]["lr"] == pytest.approx(rates[epoch]), epoch
        sgd.step()
        schedule.step(*[1.0] * (protocol == "paper"))  # the validation's loss


def test_augmentation_turns_by_at_most_ten_degrees():
    video = torch.zeros(97, 1, 3, 65, 65)
    video[..., 32, 48:] = 1  # a horizontal ray to the right of the centre
    moved = augment(video, torch.Generator().manual_seed(0))[:, 0, 0]
    rows, columns = torch.meshgrid(torch.arange(65.0) - 32, torch.arange(65.0) - 32, indexing="ij")
    mass = moved.sum(dim=(1, 2))
    down, right = ((moved * places).sum(dim=(1, 2)) / mass for places in (rows, columns))
    angles = torch.rad2deg(torch.atan(down / right))
    assert angles.abs().max() < 10.5 and angles.abs().max() > 8


def test_variants_without_any_modality_are_left_out():
    audio, video = torch.ones(3, 10, 5), torch.ones(3, 2, 3, 4, 4)
    audio[1:], video[2] = 0, 0
    kept = informative([(audio, video), (None, video), (audio, None)])
    assert kept.tolist() == [0, 1, 3, 4, 6]


@pytest.mark.parametrize("dropout", ["softhard", "noise", "sampled"])
def test_a_step_moves_the_weights_as_one_on_the_plain_batch(dropout):
    torch.manual_seed(0)
    ours = build_model("lt", image_size=64).double().train()
    plain = copy.deepcopy(ours)
    audio, video = torch.randn(3, 10, 156).double(), torch.rand(3, 2, 3, 64, 64).double()
    labels = torch.tensor([5, 0, 7])
    sgd, other = (optimizer_and_schedule(net, 0.04, "paper")[0] for net in (ours, plain))
    step = {"task": EMOTION, "dropout": dropout, "generator": torch.Generator().manual_seed(1)}
    loss, logits, seen = train_step(ours, (audio, video, labels), sgd, **step)
    audio, video, labels = modality_dropout(dropout, audio, video, labels, torch.Generator().manual_seed(1))
    expected = torch.nn.functional.cross_entropy(plain(audio, video).logits.float(), labels)
    expected.backward()
    other.step()
    torch.testing.assert_close(loss, expected)
    assert torch.equal(seen, labels) and len(logits) == len(labels)
    for one, two in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)


def test_batches_hold_the_stored_numbers_in_the_asked_order(tiny_store):
    rows, order = np.array([5, 41, 7, 11, 13]), [2, 0, 3, 1, 4]
    clips = Clips(tiny_store, rows, tiny_store.clips.label.to_numpy()[rows], EMOTION)
    batches = list(clips.batches(3, torch.tensor(order)))
    audio, video, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    np.testing.assert_array_equal(audio, tiny_store.audio[rows[order]])
    np.testing.assert_array_equal(video, np.moveaxis(tiny_store.video[rows[order]], -1, 2).astype(np.float32) / 255)
    assert [len(batch[2]) for batch in batches] == [3, 2] and (labels == clips.labels[order]).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_gpu_trains_with_the_same_code(tmp_path, tiny_store):
    clips = parts(tiny_store, "cuda")
    assert clips[0].video_of(torch.tensor([0])).is_cuda
    assert len(run(tmp_path / "run", clips, epochs=2)) == 2


def test_training_and_evaluation_need_no_library_of_media_notebooks_or_figures():
    libraries = ["librosa", "facenet_pytorch", "captum", "jupyterlab", "papermill", "av", "matplotlib"]
    libraries += ["pydantic", "click", "psutil", "pebble", "pooch", "tabulate"]
    code = f"import sys; sys.modules.update(dict.fromkeys({libraries}))\n"
    code += "import workbook.train.training, workbook.train.pretraining, workbook.evaluate.evaluation"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


IN_A_FRESH_PROCESS = """
import psutil, torch
from workbook.train.memory import memory_kept

size, resident = 300_000_000, lambda: psutil.Process().memory_info().rss
with memory_kept():
    before = resident()
    with memory_kept():
        pass
    torch.zeros(size // 4).add_(1)
    assert resident() - before > 0.8 * size
assert resident() - before < 0.5 * size
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has other rules")
def test_memory_is_kept_inside_the_block_and_given_back_after_it():
    subprocess.run([sys.executable, "-c", IN_A_FRESH_PROCESS], check=True, cwd=ROOT)
