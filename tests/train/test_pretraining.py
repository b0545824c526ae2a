"""Teaching a frame network on single frames, and starting runs from it."""

import json
import shutil
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from in_process import without_kernels
from PIL import Image
from safetensors.torch import load_file, save_file
from smoke_runs import SMOKE

from avlib import build_model
from workbook import InputError
from workbook.data.datasets import DATASETS
from workbook.data.folds import split_rows
from workbook.evaluate.sentences import recognised
from workbook.files import checksum
from workbook.run.parameters import Parameters
from workbook.run.run_folder import check_same_run, checkpoint, frames_to_teach, start_pretraining, unfinished
from workbook.sweep import notebooks
from workbook.train import pretraining
from workbook.train.pretraining import (
    FrameClassifier,
    confusions_of_frames,
    frame_clips,
    image_clips,
    load_pretrained,
    recalls,
    recognise,
    teach,
)

STRIPES = np.array(["black", "blue", "cyan", "green", "lime", "red", "tan", "white"])  # sorted: names of the 8 stripes


@pytest.fixture(scope="module")
def frames(tiny_store):
    shown = np.repeat(STRIPES[tiny_store.clips.label][:, None], 3, axis=1)
    return frame_clips(tiny_store, shown, 0, "groups")


def taught(folder, frames, epochs, stop_after=None):
    """The network and the history of a pretraining in `folder`, left in the lurch after `stop_after` epochs."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(3)
    net, rows = FrameClassifier("efficientface", 64, 8), []
    for row in teach(net, frames, folder, epochs=epochs, seed=3):
        rows.append(row)
        if len(rows) == stop_after:
            break
    return net, rows


def test_frames_are_those_of_the_training_and_validation_actors_with_their_own_names(tiny_store, frames):
    whose = split_rows(tiny_store.clips, 0, "groups")
    assert set(frames) == {"train", "validation"}
    for split, those in frames.items():
        assert set(those.table.actor) == set(tiny_store.clips.actor[whose[split]])
        assert len(those) == 3 * len(whose[split]) and those.task.names == tuple(STRIPES)
        _, video, labels = those[torch.arange(len(those))]
        assert video.shape[1:] == (1, 3, 64, 64)
        bright = video.mean(dim=(1, 2, 4)).unflatten(1, (8, 8)).mean(dim=2).argmax(dim=1)
        assert torch.equal(bright, labels), "a stripe tells the label of each frame"


def test_black_frames_are_left_out_and_names_may_change_within_a_clip(tiny_store):
    video = tiny_store.video.copy()
    video[:, 2] = 0
    video[split_rows(tiny_store.clips, 0, "groups")["train"][0], 1] = 0
    shown = np.tile(["first", "second", "never"], (48, 1))
    found = frame_clips(replace(tiny_store, video=video), shown, 0, "groups")
    assert found["train"].table.emotion.value_counts().to_dict() == {"first": 24, "second": 23}
    assert found["validation"].labels.tolist() == [0, 2] * 8  # first, second; sorted
    with pytest.raises(InputError, match="has no train frame: choose another fold"):
        frame_clips(replace(tiny_store, video=0 * video), shown, 0, "groups")


def test_a_taught_network_names_frames_of_others_and_a_run_starts_from_it(frames, tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "BATCH_SIZE", 8)
    net, rows = taught(tmp_path, frames, epochs=6)
    best = max(row["validation_accuracy"] for row in rows)
    net.load_state_dict(load_file(tmp_path / "model.safetensors"))
    answers = recognise(net, frames["validation"])
    assert best > 90 and 100 * np.mean(answers == frames["validation"].labels.numpy()) == pytest.approx(best)
    for fusion in ("ia", "video"):
        run = build_model(fusion, image_size=64)
        line = load_pretrained(run, tmp_path / "model.safetensors")
        assert line == f"the frame network from {tmp_path}/model.safetensors, sha256 {line.split()[-1]}"
        pairs = zip(run.frame_network.parameters(), net.frame_network.parameters(), strict=True)
        assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_an_interrupted_pretraining_ends_with_the_same_weights_bit_for_bit(frames, tmp_path):
    _, whole = taught(tmp_path / "whole", frames, epochs=2)
    taught(tmp_path / "broken", frames, epochs=2, stop_after=1)
    assert taught(tmp_path / "broken", frames, epochs=2)[1] == whole
    assert checksum(tmp_path / "whole/model.safetensors") == checksum(tmp_path / "broken/model.safetensors")


def test_a_network_of_timm_is_taught_too_and_the_two_kinds_are_not_mixed_up(tmp_path):
    vision, torch_net = "timm:mobilenetv4_conv_small", FrameClassifier("timm:mobilenetv4_conv_small", 64, 3)
    save_file(torch_net.state_dict(), tmp_path / "small.safetensors")
    run = build_model("video", image_size=64, vision=vision)
    assert load_pretrained(run, tmp_path / "small.safetensors").startswith("the frame network from")
    video = torch.rand(2, 3, 64, 64)
    assert torch.equal(run.eval().frame_network(video), torch_net.eval().frame_network(video))
    for other in (build_model("video", image_size=64), build_model("audio")):
        with pytest.raises(InputError, match=r"small.safetensors is not of this frame network: it "):
            load_pretrained(other, tmp_path / "small.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"torn.safetensors is damaged"):
        load_pretrained(run, tmp_path / "torn.safetensors")


@pytest.fixture
def images(tmp_path):
    """A folder of 20 red and 10 blue images in different sizes and modes."""
    for number in range(30):
        folder = tmp_path / "faces" / ("red" if number < 20 else "blue")
        folder.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (70 + number, 90), "red" if number < 20 else "blue")
        (picture.convert("P") if number == 3 else picture).save(folder / f"{number}.png")
    return tmp_path / "faces"


def test_a_folder_of_images_is_read_as_squares_and_a_tenth_of_each_class_validates(images):
    found = image_clips(images, 32, seed=1)
    assert {split: len(those) for split, those in found.items()} == {"train": 27, "validation": 3}
    assert sorted(found["validation"].labels.tolist()) == [0, 1, 1] and found["train"].task.names == ("blue", "red")
    assert not set(found["train"].table["clip"]) & set(found["validation"].table["clip"])
    _, video, labels = found["train"][torch.arange(27)]
    assert video.shape == (27, 1, 3, 32, 32)
    colours = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    assert torch.equal(video[:, 0, :, 16, 16], colours[labels])
    again = image_clips(images, 32, seed=2)["validation"]
    assert set(again.table["clip"]) != set(found["validation"].table["clip"])


def test_an_exchanged_image_is_noticed(images):
    before, path = image_clips(images, 32, seed=1)["train"].store.fingerprint, images / "red" / "5.png"
    content = bytearray(path.read_bytes())
    path.write_bytes(content)
    assert image_clips(images, 32, seed=2)["train"].store.fingerprint == before, "only the bytes count"
    content[-1] ^= 1  # of the same length
    path.write_bytes(content)
    assert image_clips(images, 32, seed=1)["train"].store.fingerprint != before


def test_the_fingerprint_of_images_is_the_same_on_windows(images, monkeypatch):
    (images / "red").rename(images / "a"), (images / "blue").rename(images / "B")
    before = pretraining.images_fingerprint(images)
    monkeypatch.setattr(type(images), "__lt__", lambda self, other: str(self).lower() < str(other).lower())
    assert pretraining.images_fingerprint(images) == before


def test_images_are_read_once_into_one_array_on_the_disk(images, tmp_path, monkeypatch):
    plain = [pretraining.read_image(path, 32) for path in image_clips(images, 32, seed=1)["train"].table["clip"]]
    monkeypatch.setattr(pretraining, "READ_TOGETHER", 7)
    clips = image_clips(images, 32, seed=1, scratch=tmp_path / "runs")
    assert isinstance(clips["train"].store.video, np.memmap) and clips["train"].store is clips["validation"].store
    assert not list((tmp_path / "runs").iterdir()), "the file vanishes with the process"
    shutil.rmtree(images)
    for _ in range(2):
        frames = torch.cat([video for _, video, _ in clips["train"].batches(8)])
        assert torch.equal((255 * frames).round().byte(), torch.tensor(np.array(plain))[:, None].movedim(-1, 2))


def test_a_test_folder_is_a_split_of_its_own_that_nothing_depends_on(images, tmp_path):
    plain, folder = image_clips(images, 32, seed=1), tmp_path / "split"
    folder.mkdir()
    images.rename(folder / "train")
    for name, mode in (("red", "RGB"), ("blue", "L")):
        (folder / "test" / name).mkdir(parents=True)
        Image.new(mode, (20, 20), 255).save(folder / "test" / name / "0.png")
    clips = image_clips(folder, 32, seed=1)
    assert [len(clips[split]) for split in ("train", "validation", "test")] == [27, 3, 2]
    assert clips["test"].table["emotion"].tolist() == ["blue", "red"] and clips["test"].labels.tolist() == [0, 1]
    for split in plain:
        assert torch.equal(clips[split].labels, plain[split].labels)
        assert clips[split].store.fingerprint == plain[split].store.fingerprint
    assert pretraining.describe_frames(clips).startswith("**1** images are grey and **31** in colour;")
    (folder / "test" / "red").rename(folder / "test" / "green")
    with pytest.raises(InputError, match=r"test has a class green, of which nothing is in .*train"):
        image_clips(folder, 32, seed=1)


def test_class_weights_make_rare_classes_count_as_much_as_frequent_ones(images, config):
    clips = frames_to_teach(config(pretrained=str(images), image_size=64, class_weights=True))
    labels, weights = clips["train"].labels, torch.tensor(clips["train"].task.weights)  # 9 blue, 18 red
    assert weights.tolist() == pytest.approx([27 / 18, 27 / 36]) and clips["validation"].task == clips["train"].task
    logits = torch.randn(27, 2, generator=torch.Generator().manual_seed(1))
    each = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    by_class = torch.stack([each[labels == label].mean() for label in (0, 1)])
    torch.testing.assert_close(clips["train"].task.loss(logits, labels), by_class.mean())


def test_recalls_and_confusions_are_those_of_frames_that_were_not_learned(frames, tmp_path):
    net, _ = taught(tmp_path, frames, epochs=1)
    tables = confusions_of_frames(net, frames | {"test": frames["validation"]}, tmp_path / "model.safetensors")
    assert list(tables) == ["validation", "test"] and tables["test"].sum() == len(frames["validation"])
    table = recalls({"test": np.array([[3, 1], [2, 4]])}, ("a", "b"))
    assert table["recall"].tolist() == pytest.approx([75, 100 * 4 / 6]) and table["frames"].tolist() == [4, 6]
    assert recognised(table) == (
        "**7 of 10** test frames are named right, **70.0 %** (39.7 to 89.2 over frames): "
        "of a **75 %**, the most, of b **67 %**, the least."
    )


def test_images_that_cannot_be_used_are_one_sentence(images):
    (images / "red" / "30.png").write_bytes((images / "red" / "3.png").read_bytes()[:60])
    with pytest.raises(InputError, match=r"red/30.png cannot be read as an image .*: repair it or remove it"):
        image_clips(images, 32, seed=1)
    Image.new("RGB", (9, 9)).save(images / "red" / "30.png", format="EPS")  # which another program would draw
    with pytest.raises(InputError, match=r"red/30.png cannot be read as an image \(cannot identify"):
        image_clips(images, 32, seed=1)
    (images / "red" / "30.png").unlink()
    with pytest.raises(InputError, match="needs a subfolder of images for each class"):
        image_clips(images / "red", 32, seed=1)
    for path in sorted(images.glob("*/*.png"))[2:]:
        path.unlink()
    Image.new("L", (9, 9)).save(images / "red" / "only.png")
    with pytest.raises(InputError, match="holds 3 images: a class needs at least 6"):
        image_clips(images, 32, seed=1)


@pytest.fixture
def config(tmp_path):
    """Gives parameters of a run that starts from taught frames, below a folder of its own."""

    def of(**values):
        return Parameters(**{"outputs_root": str(tmp_path / "runs"), "pretrained": "frames"} | values)

    return of


def test_runs_with_the_same_frames_share_one_frame_network_and_others_do_not(config, images):
    def folder(**values):
        return str(config(**values).frame_network_folder.relative_to(config().outputs_root))

    shared = [{}, {"fusion": "lt"}, {"dropout": "none", "epochs": 3}, {"train_vision": False}, {"classes": 7}]
    assert {folder(**values) for values in shared} == {"toy/pretrained-efficientface/fold0-seed1"}
    own = [{"fold": 1}, {"seed": 2}, {"frames": 3}, {"image_size": 96}, {"frame_epochs": 9}, {"fold_scheme": "loso"}]
    own += [{"vision": "timm:mobilenetv4_conv_small"}, {"data_root": "elsewhere"}, {"class_weights": True}, {}]
    assert len({folder(**values) for values in own}) == len(own)
    of_images = {folder(pretrained=str(images), **values) for values in ({}, {"fold": 1}, {"frames": 3})}
    assert len(of_images) == 1 and of_images.pop().startswith("images/pretrained-efficientface-faces-")
    for values in ({"seed": 2}, {"class_weights": True}):
        assert folder(pretrained=str(images), **values) != folder(pretrained=str(images))


def test_a_run_without_a_frame_network_has_none_to_teach(config, monkeypatch):
    for values in ({"fusion": "audio"}, {"dataset": "toy_mosei"}):
        with pytest.raises(InputError, match="pretrained is frames, but this run has no frame network: leave it out"):
            config(**values)
    monkeypatch.setitem(DATASETS["toy"].defaults, "pretrained", "frames")
    assert {fusion: config(pretrained="", fusion=fusion).pretrained for fusion in ("ia", "audio")} == {
        "ia": "frames",
        "audio": "none",
    }
    names = [config(pretrained=value).folder.parent.name for value in ("", "frames", "none")]
    assert names == ["ia1-softhard", "ia1-softhard", "ia1-softhard-fresh"]
    with pytest.raises(InputError, match="toy_mosei comes as features: it has no frames"):
        frames_to_teach(config(pretrained="", dataset="toy_mosei"))
    with pytest.raises(InputError, match="give frames, or a folder of face images, to teach on"):
        frames_to_teach(config(pretrained=__file__))


def finished(config, frames):
    """Teaches the frame network of a run for an epoch."""
    with start_pretraining(config, frames) as folder:
        taught(folder, frames, epochs=1)
    return folder


def test_a_frame_network_that_is_missing_unfinished_or_other_names_the_command_that_makes_it(config, frames):
    run = config(fusion="lt", fold=1, frame_epochs=1)
    data = frames["train"].store.fingerprint
    command = r"; make it with: papermill notebooks/pretrain.ipynb .* -p pretrained frames -p frame_epochs 1 -p fold 1"
    with pytest.raises(InputError, match=rf"fold1-seed1/model.safetensors is missing{command}") as refused:
        checkpoint(run, data)
    assert "fusion" not in str(refused.value)
    with pytest.raises(InputError, match="stopped after epoch 0 of 1: run it again"), start_pretraining(run, frames):
        raise KeyboardInterrupt
    assert "is missing" in unfinished(run)
    folder = finished(run, frames)
    assert checkpoint(run, data) == run.starts_from == folder / "model.safetensors"
    with pytest.raises(InputError, match=rf"was taught on other data .*add -p resume False\){command}"):
        checkpoint(run, "another")
    record = json.loads((folder / "pretrained.json").read_text())
    assert record["sha256"] == checksum(run.starts_from) and record["parameters"]["fold"] == 1
    other = config(fusion="lt", fold=1, frame_epochs=1, resume=False)
    assert finished(other, frames) == folder and unfinished(other, data) == ""


def test_of_two_that_would_teach_the_same_frame_network_one_waits(config, frames):
    order = []

    def second():
        with start_pretraining(config(frame_epochs=1, fusion="lt"), frames) as folder:
            order.append((folder / "model.safetensors").exists())

    with start_pretraining(config(frame_epochs=1), frames) as folder:
        other = threading.Thread(target=second)
        other.start()
        time.sleep(0.2)
        assert not order, "it waits"
        taught(folder, frames, epochs=1)
    other.join()
    assert order == [True]


def test_a_run_starts_from_frames_that_were_taught_and_its_sibling_shares_them(small_toy, tmp_path):
    given = SMOKE | {"data_root": str(small_toy), "outputs_root": str(tmp_path), "frame_epochs": 1}
    given |= {"pretrained": "frames", "train_vision": False}
    config, lines = Parameters(**given), []
    with without_kernels():
        first = notebooks.run_pipeline(config, ("pretrain", "train"))
        second = notebooks.run_pipeline(Parameters(**given | {"dropout": "none"}), ("pretrain",), echo=lines.append)
    weights = config.starts_from
    assert weights.parents[2] == tmp_path / "toy" and lines == [f"pretrain: left out, since {weights} is there"]
    assert (first / "pretrain.ipynb").exists() and not (second / "pretrain.ipynb").exists()
    taught, run = load_file(weights), load_file(first / "model.safetensors")
    assert all(torch.equal(taught[name], run[name]) for name in taught if name.startswith("frame_network."))
    record = json.loads((first / "run.json").read_text())
    assert record["starts_from_sha256"] == checksum(weights)
    assert check_same_run(config).startswith("already trained")
    weights.write_bytes(b"another")
    with pytest.raises(InputError, match=r"holds a run with other weights \(sha256 "):
        check_same_run(config)
