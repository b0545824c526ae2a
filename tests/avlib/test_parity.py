"""Our networks against what the authors' own code returned for the same weights and clips (parity/fixture.npz).

Weights and inputs come from parity/formula.py: a function of each entry's name in the original code.
"""

from ast import literal_eval
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from parity.formula import clips, sequences, weight
from torch import nn

from avlib import build_model
from avlib.efficientface import FEATURES
from avlib.weights import from_authors, load_authors_checkpoint, load_efficientface, load_mult, to_authors

FIXTURE = np.load(Path(__file__).parent / "parity" / "fixture.npz")
THREADS = 2  # as the fixture was made: others add up in another order, and kinks of the network make much of that
SYSTEMS = [(fusion, heads) for fusion in ("lt", "it", "ia") for heads in (1, 4)]


def close(ours, theirs, tolerance=1e-4):
    """Equal within a share of the largest value: both sides are float32, whose rounding adds up to about half of it."""
    theirs = torch.as_tensor(theirs)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * float(theirs.abs().max()))


def given(names_and_shapes):
    """Weights by formula for entries of an original state dict."""
    return {name: torch.as_tensor(weight(name, tuple(shape))) for name, shape in names_and_shapes}


def keep_the_statistics_of_the_next_batch(net):
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0


@contextmanager
def threads(number):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=SYSTEMS, ids=lambda system: f"{system[0]}{system[1]}")
def run(request):
    """One forward and backward in train mode, then eval mode with that batch's statistics, as the fixture was made."""
    fusion, heads = request.param
    net = build_model(fusion, heads)
    net.load_state_dict(from_authors(net, given((name, value.shape) for name, value in to_authors(net).items())))
    keep_the_statistics_of_the_next_batch(net)
    audio, video, labels = (torch.as_tensor(array) for array in clips())
    with threads(THREADS):
        logits = net.train()(audio, video).logits
        loss = nn.functional.cross_entropy(logits, labels)
        loss.backward()
    return f"{fusion}{heads}", net.eval(), audio, video, logits.detach(), loss.detach()


def test_training_logits_and_loss_agree_with_the_authors(run):
    system, _, _, _, logits, loss = run
    close(logits, FIXTURE[f"{system}/train_logits"])
    close(loss, FIXTURE[f"{system}/train_loss"])


def test_every_gradient_norm_agrees_with_the_authors(run):
    system, net = run[:2]
    gradients = to_authors(net, {name: weight.grad for name, weight in net.named_parameters()})
    norms = dict(zip(FIXTURE[f"{system}/grad_names"], FIXTURE[f"{system}/grad_norms"], strict=True))
    assert set(norms) == set(gradients)
    rounding = 1e-5 * float(max(norms.values()))  # a bias in front of a batch norm has no gradient but rounding errors
    # At the kinks of ReLU rounding decides, and processors round differently: norms in float64 lie up to 2 % away, too.
    for name, norm in norms.items():
        assert float(gradients[name].norm()) == pytest.approx(norm, rel=3e-2, abs=rounding), name


def test_evaluation_logits_agree_with_the_authors_with_and_without_each_modality(run):
    system, net, audio, video, _, _ = run
    with torch.inference_mode():
        close(net(audio, video).logits, FIXTURE[f"{system}/eval_logits"])
        close(net(audio, video * 0).logits, FIXTURE[f"{system}/eval_logits_without_video"])
        close(net(audio * 0, video).logits, FIXTURE[f"{system}/eval_logits_without_audio"])


def test_every_attention_map_agrees_with_the_authors(run):
    system, net, audio, video, _, _ = run
    with torch.inference_mode():
        attention = net(audio, video).attention
    keys = [key for key in FIXTURE.files if key.startswith(f"{system}/attention/")]
    assert len(keys) == 2
    for key in keys:
        ours = attention["video_to_audio" if "/av" in key else "audio_to_video"]
        close(ours, FIXTURE[key], tolerance=1e-3)


@pytest.fixture(scope="module")
def efficientface(tmp_path_factory):
    """The face network by way of a checkpoint in EfficientFace's format, and the last layer, which is theirs alone."""
    net = build_model("ia")
    branch = {
        name.removeprefix("visual_model."): value.shape for name, value in to_authors(net).items() if "visual" in name
    }
    theirs = given((name, shape) for name, shape in branch.items() if not name.startswith("conv1d_"))
    theirs |= given([("fc.weight", (7, FEATURES)), ("fc.bias", (7,))])
    path = tmp_path_factory.mktemp("efficientface") / "checkpoint.pth.tar"
    torch.save({"state_dict": {f"module.{name}": value for name, value in theirs.items()}}, path)
    load_efficientface(net, path)
    keep_the_statistics_of_the_next_batch(net.frame_network)
    return net.frame_network, lambda features: features @ theirs["fc.weight"].T + theirs["fc.bias"]


def test_features_and_logits_of_efficientface_agree_with_its_own_code(efficientface):
    network, last = efficientface
    frames = torch.as_tensor(clips()[1])[:, ::5].flatten(0, 1)
    with torch.inference_mode():
        for mode in ("train", "eval"):  # in this order: evaluation uses the statistics of training's batch
            features = network.train(mode == "train")(frames)
            close(features, FIXTURE[f"efficientface/{mode}_features"])
            close(last(features), FIXTURE[f"efficientface/{mode}_logits"])


@pytest.fixture(scope="module")
def mult(tmp_path_factory):
    """MULT by way of a state dict in its own names."""
    shapes = (literal_eval(shape) for shape in FIXTURE["mult/parameter_shapes"])
    path = tmp_path_factory.mktemp("mult") / "mult.pt"
    torch.save(given(zip(FIXTURE["mult/parameter_names"].tolist(), shapes, strict=True)), path)
    return load_mult(path)


def test_the_outputs_of_mult_agree_with_its_own_code_with_and_without_each_modality(mult):
    audio, video, unaligned_audio, unaligned_video = map(torch.as_tensor, sequences())
    with torch.inference_mode():
        close(mult(audio, video).logits, FIXTURE["mult/output"])
        close(mult(audio * 0, video).logits, FIXTURE["mult/output_without_audio"])
        close(mult(audio, video * 0).logits, FIXTURE["mult/output_without_video"])
        close(mult(unaligned_audio, unaligned_video).logits, FIXTURE["mult/output_unaligned"])


def test_mult_agrees_with_its_own_code_where_gradients_are_recorded(mult):
    audio, video = map(torch.as_tensor, sequences()[2:])
    close(mult(audio, video).logits.detach(), FIXTURE["mult/output_unaligned"])  # torch takes another path here


REAL = [("lt", 1), ("it", 1), ("ia", 1), ("ia", 4)]


@pytest.mark.shared
@pytest.mark.parametrize(("fusion", "heads"), REAL)
def test_a_checkpoint_of_the_authors_says_what_it_said_there_on_real_faces_and_voices(fusion, heads, shared):
    theirs = np.load(shared / "parity/real/authors_outputs.npz")
    net = load_authors_checkpoint(shared / f"parity/real/authors_{fusion}{heads}.pth", heads)
    audio = torch.as_tensor(theirs["mfcc"])
    video = torch.as_tensor(theirs["faces_uint8_bgr"]).movedim(-1, 2) / 255
    with torch.inference_mode():
        output = net(audio, video)
        close(output.logits, theirs[f"{fusion}{heads}/logits"])
        close(net(audio, video * 0).logits, theirs[f"{fusion}{heads}/logits_audio_only"])
        close(net(audio * 0, video).logits, theirs[f"{fusion}{heads}/logits_video_only"])
    for key in (key for key in theirs.files if key.startswith(f"{fusion}{heads}/attention/")):
        close(output.attention["video_to_audio" if "/av" in key else "audio_to_video"], theirs[key], tolerance=1e-3)


@pytest.mark.shared
def test_a_checkpoint_of_efficientface_describes_real_faces_as_it_did_there(shared):
    theirs = np.load(shared / "parity/real/efficientface_outputs.npz")
    net = build_model("video").eval()
    load_efficientface(net, shared / "parity/real/EfficientFace_Trained_on_AffectNet7.pth.tar")
    frames = torch.as_tensor(theirs["frames_rgb_uint8"]).movedim(-1, 1) / 255
    with torch.inference_mode():
        close(net.frame_network(frames), theirs["features"])
