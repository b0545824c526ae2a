"""Checkpoints of others: what is taken over, what is given back, and what is refused without being executed."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from avlib import authors_state_dict, build_model, load_authors_checkpoint, load_efficientface
from avlib.mult import Mult
from avlib.weights import load_mult, to_authors
from workbook.train.pretraining import load_pretrained

AUDIO, VIDEO = torch.randn(2, 10, 156), torch.rand(2, 3, 3, 64, 64)
LOADERS = [load_authors_checkpoint, load_mult, lambda path: load_efficientface(build_model("video"), path)]


def shuffled(net):
    """The net with weights and statistics that no fresh one has."""
    with torch.no_grad():
        for value in net.state_dict().values():
            if value.is_floating_point():
                value.add_(0.01 * torch.rand_like(value))
    return net.eval()


def saved(weights, path: Path, prefix: str = "", **options) -> Path:
    torch.save({"epoch": 3, "state_dict": {prefix + name: value for name, value in weights.items()}}, path, **options)
    return path


def face_weights(net, classes: int) -> dict:
    """The net's face network in EfficientFace's names, with a last layer."""
    theirs = {name.removeprefix("visual_model."): value for name, value in to_authors(net).items() if "visual" in name}
    theirs = {name: value for name, value in theirs.items() if not name.startswith("conv1d_")}
    return theirs | {"fc.weight": torch.zeros(classes, 1024), "fc.bias": torch.zeros(classes)}


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(("fusion", "heads", "classes"), [("lt", 4, 7), ("it", 1, 8), ("ia", 2, 8)])
def test_a_checkpoint_of_the_authors_says_what_its_net_said(fusion, heads, classes, prefix, tmp_path):
    net = shuffled(build_model(fusion, heads, classes))
    loaded = load_authors_checkpoint(saved(authors_state_dict(net), tmp_path / "net.pth", prefix), heads)
    with torch.inference_mode():
        ours, theirs = loaded(AUDIO, VIDEO), net(AUDIO, VIDEO)
    assert torch.equal(ours.logits, theirs.logits) and ours.logits.shape == (2, classes) and not loaded.training
    assert torch.equal(ours.attention["video_to_audio"], theirs.attention["video_to_audio"])


@pytest.mark.shared
@pytest.mark.parametrize(("fusion", "heads"), [("lt", 1), ("it", 1), ("ia", 1)])
def test_what_is_given_back_has_all_names_and_shapes_of_the_authors(fusion, heads, shared):
    path = shared / f"parity/real/authors_{fusion}{heads}.pth"
    theirs = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    theirs = {name.removeprefix("module."): value for name, value in theirs.items()}
    ours = authors_state_dict(load_authors_checkpoint(path, heads))
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}
    used = [name for name, value in ours.items() if value.any()]
    assert len(used) > 250
    for name in used:  # of the values in ia's kv, the authors use none
        half = slice(len(theirs[name]) // 2) if fusion == "ia" and ".kv." in name else ...
        assert torch.equal(ours[name][half], theirs[name][half]), name


@pytest.mark.parametrize("options", [{}, {"dense_head": True}])
def test_only_what_the_authors_have_can_be_given_back(options):
    with pytest.raises(ValueError, match="the authors' code has"):
        authors_state_dict(build_model("ia" if options else "mlt", **options))
    with pytest.raises(ValueError, match=r"has fusion lt, it, ia, and no 'Mult'"):
        authors_state_dict(Mult())


@pytest.mark.parametrize("classes", [7, 8, 12_666])
@pytest.mark.parametrize("new_format", [True, False])
def test_the_face_network_is_taken_over_whatever_its_last_layer(classes, new_format, tmp_path):
    source, net = shuffled(build_model("ia")), build_model("tav")
    path = tmp_path / "checkpoint.pth.tar"
    saved(face_weights(source, classes), path, "module.", _use_new_zipfile_serialization=new_format)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    load_efficientface(net, path)
    expected = {name: (source.state_dict() if "frame_network." in name else before)[name] for name in before}
    assert all(torch.equal(value, expected[name]) for name, value in net.state_dict().items())


def test_what_their_training_script_left_beside_the_weights_is_passed_over(tmp_path, monkeypatch):
    class RecorderMeter:
        def __init__(self):
            self.epoch_losses, self.best, self.epochs = np.zeros((5, 2), np.float32), np.float64(61.3), 5

    RecorderMeter.__module__, RecorderMeter.__qualname__ = "__main__", "RecorderMeter"
    monkeypatch.setattr(sys.modules["__main__"], "RecorderMeter", RecorderMeter, raising=False)
    source, net, path = shuffled(build_model("ia")), build_model("video"), tmp_path / "checkpoint.pth.tar"
    torch.save({"state_dict": face_weights(source, 8), "recorder": RecorderMeter()}, path)
    load_efficientface(net, path)
    assert torch.equal(net.frame_network.last[0].weight, source.frame_network.last[0].weight)


def test_pretrained_weights_are_told_apart_and_told_with_their_checksum(tmp_path):
    source, net = shuffled(build_model("ia")), build_model("ia")
    faces = saved(face_weights(source, 7), tmp_path / "faces.pth.tar")
    line = load_pretrained(net, faces)
    assert line.startswith(f"EfficientFace's weights from {faces}, sha256 ") and len(line.split()[-1]) == 64
    assert not torch.equal(net.classifier.weight, source.classifier.weight)
    everything = saved(authors_state_dict(source), tmp_path / "all.pth")
    assert load_pretrained(net, everything).startswith("all weights from")
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in net.state_dict().items())
    with pytest.raises(ValueError, match=r"the authors' network with fusion it and 8 classes: it lacks 'av1.norm1_q"):
        load_pretrained(build_model("it"), everything)
    with pytest.raises(ValueError, match=r"with fusion ia and 7 classes: its 'classifier_1.0.weight' is"):
        load_pretrained(build_model("ia", classes=7), everything)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_missing_or_truncated_file_is_refused(load, share, new_format, tmp_path):
    path = tmp_path / "net.pth"
    with pytest.raises(ValueError, match=r"net.pth is not a file"):
        load(path)
    torch.save({"state_dict": authors_state_dict(build_model("ia"))}, path, _use_new_zipfile_serialization=new_format)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"is damaged or no checkpoint by torch.save; nothing in it was executed$"):
        load(path)


class Code:
    """When unpickled, leaves a file behind."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("protocol", [None, 2, 4])
def test_code_in_a_file_is_refused_and_never_executed(load, protocol, tmp_path):
    held = {"state_dict": authors_state_dict(build_model("ia")), "extra": Code(tmp_path / "executed")}
    torch.save(held, tmp_path / "net.pth")
    if protocol:
        (tmp_path / "net.pth").write_bytes(pickle.dumps(held, protocol))
    with pytest.raises(ValueError, match=r"^[^\n]*nothing in it was executed[^\n]*$"):
        load(tmp_path / "net.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("held", "sentence"),
    [
        ([1, 2], "holds no state dict, but a list"),
        ({}, "holds no state dict, but a dict"),
        ({"state_dict": {"weight": 3}}, "its 'weight' is a int, not a tensor"),
        ({"weight": torch.tensor([1.0, torch.nan])}, "holds NaN or infinite numbers in 'weight'"),
        ({"state_dict": {"bias": torch.tensor([torch.inf])}}, "holds NaN or infinite numbers in 'bias'"),
    ],
)
def test_what_is_no_state_dict_is_refused(held, sentence, tmp_path):
    torch.save(held, tmp_path / "net.pth")
    for load in LOADERS:
        with pytest.raises(ValueError, match=sentence):
            load(tmp_path / "net.pth")


def test_a_checkpoint_of_another_architecture_is_refused_with_its_first_mismatch(tmp_path):
    authors, faces, mult = (tmp_path / name for name in ("authors.pth", "faces.pth.tar", "mult.pt"))
    net, names = build_model("it"), ("proj_a.weight", "proj_v.weight", "out_layer.weight")
    saved(authors_state_dict(net), authors), saved(face_weights(net, 7), faces)
    saved({name: torch.randn(30, 11, 1) for name in names}, mult)
    for path in (faces, mult):
        with pytest.raises(ValueError, match=r"no checkpoint of the authors' network: it lacks av.attn.q.weight or"):
            load_authors_checkpoint(path)
    for path in (authors, mult):
        with pytest.raises(ValueError, match=r"is not of EfficientFace: it lacks 'conv1.0.weight'"):
            load_efficientface(build_model("ia"), path)
    for path in (authors, faces):
        with pytest.raises(ValueError, match=r"is no state dict of MULT: it lacks matrices called proj_a.weight"):
            load_mult(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"av1.q.weight": None}, "it lacks av.attn.q.weight or av1.attn.q.weight or av1.q.weight"),
        ({"classifier_1.0.weight": None}, "it lacks a matrix classifier_1.0.weight"),
        ({"classifier_1.0.weight": torch.zeros(())}, "it lacks a matrix classifier_1.0.weight"),
        ({"va1.q.weight": None}, "fusion ia and 8 classes: it lacks 'va1.q.weight'"),
        ({"va1.q.weight": torch.zeros(3, 5)}, r"its 'va1.q.weight' is \(3, 5\), not \(64, 64\)"),
        ({"more.weight": torch.zeros(1)}, "it has 'more.weight'"),
    ],
)
def test_the_first_mismatch_of_a_checkpoint_is_named(change, sentence, tmp_path):
    theirs = authors_state_dict(build_model("ia")) | change
    path = saved({name: value for name, value in theirs.items() if value is not None}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=sentence):
        load_authors_checkpoint(path)
