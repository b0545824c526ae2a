"""Networks of timm or features in place of EfficientFace, learned vectors in place of what is missing."""

import pytest
import timm
import torch

from avlib import FUSIONS, authors_state_dict, build_model
from avlib.encoders import long_enough
from avlib.mult import Mult
from workbook.train.pretraining import load_pretrained

SMALL = "timm:mobilenetv4_conv_small"


@pytest.mark.parametrize("size", [64, 96])
def test_it_takes_the_place_of_efficientface_in_a_whole_net(size):
    net = build_model("ia", image_size=size, vision=SMALL)
    output = net(torch.randn(2, 10, 156), torch.rand(2, 3, 3, size, size))
    output.logits.sum().backward()
    assert output.logits.shape == (2, 8) and output.attention["video"].shape == (2, 3)
    assert all(weight.grad is not None for weight in net.frame_network.parameters())


def test_weights_that_cannot_be_fetched_are_fresh_ones_from_the_seed(monkeypatch, caplog):
    def offline(*arguments, pretrained, **settings):
        raise ConnectionError("no way out")

    torch.manual_seed(3)
    net = build_model("video", image_size=64, vision=SMALL)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    monkeypatch.setattr(timm, "create_model", offline)
    assert load_pretrained(net, "") == "mobilenetv4_conv_small: fresh weights, from the seed"
    assert "could not fetch" in caplog.text
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    "vision, sentence",
    [
        ("resnet18", r"vision is 'resnet18'; choose efficientface, or timm:NAME"),
        ("timm:mobilenetv4_conv_smal", r"did you mean 'timm:mobilenetv4_conv_small'"),
        ("timm:resnet18.a2_in1", r"vision is 'timm:resnet18.a2_in1', and timm .* says: Invalid pretrained tag"),
        ("timm:vit_tiny_patch16_224", r"timm:vit_tiny_patch16_224 takes no images of 64 pixels: Input height"),
    ],
)
def test_what_cannot_look_at_the_frames_is_refused(vision, sentence):
    with pytest.raises(ValueError, match=sentence):
        build_model("ia", image_size=64, vision=vision)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_single_step_of_each_modality_is_enough(fusion):
    net = build_model(fusion, classes=3, audio_channels=7, video_channels=5)
    assert net(torch.randn(2, 7, 1), torch.randn(2, 1, 5)).logits.shape == (2, 3)


def test_short_audio_repeats_its_ends_and_zeros_stay_zeros():
    audio = torch.arange(1.0, 4.0).view(1, 1, 3)
    assert long_enough(audio)[0, 0].tolist() == [1] * 6 + [2] + [3] * 6
    assert not long_enough(torch.zeros(1, 2, 1)).any()
    long = torch.randn(1, 2, 13)
    assert long_enough(long) is long


def test_mult_in_the_table_is_mult_itself_where_everything_is_features():
    torch.manual_seed(1)
    net, alone = build_model("mult", classes=1, audio_channels=7, video_channels=5).eval(), Mult(7, 5, 1).eval()
    names = {name: name.removeprefix("fusion.") for name in net.state_dict()}
    alone.load_state_dict({names[name]: value for name, value in net.state_dict().items()})
    audio, video = torch.randn(2, 7, 11), torch.randn(2, 13, 5)
    ours, theirs = net(audio, video), alone(audio.transpose(1, 2), video)
    assert torch.equal(ours.logits, theirs.logits)
    assert all(torch.equal(weights, theirs.attention[name]) for name, weights in ours.attention.items())


B, Ta, Tv, Ca, Cv, S = 3, 29, 5, 7, 11, 64


def pair(**settings):
    """The same network without stand-ins, and with vectors of random values."""
    nets = []
    for learned in (False, True):
        torch.manual_seed(1)
        nets.append(build_model(**settings, learned_stand_ins=learned).eval())
    with torch.no_grad():
        for branch in (nets[1].audio, nets[1].video):
            if hasattr(branch, "stand_in"):
                branch.stand_in.normal_()
    return nets


@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_is_missing_is_read_as_the_learned_vector(fusion):
    plain, net = pair(fusion=fusion, audio_channels=Ca, video_channels=Cv)
    audio, video = torch.randn(B, Ca, Ta), torch.randn(B, Tv, Cv)
    lacking = audio.clone(), video.clone()
    lacking[0][0], lacking[1][1] = 0, 0
    audio[0] = getattr(net.audio, "stand_in", audio[0])
    video[1] = getattr(net.video, "stand_in", video[1])
    torch.testing.assert_close(net(*lacking).logits, plain(audio, video).logits)


def test_the_vector_stands_for_the_descriptors_of_black_frames():
    plain, net = pair(fusion="ia", image_size=S)
    audio, video = torch.randn(B, 10, Ta), torch.rand(B, Tv, 3, S, S)
    video[1] = 0
    descriptors = plain.describe(video)
    descriptors[1] = net.video.stand_in
    expected = plain.fuse(*plain.encode(audio, descriptors)).logits
    torch.testing.assert_close(net(audio, video).logits, expected)


def test_a_network_with_stand_ins_has_no_weights_for_the_authors_code():
    with pytest.raises(ValueError, match="the authors' code has no learned stand-ins"):
        authors_state_dict(build_model("ia", image_size=S, learned_stand_ins=True))
