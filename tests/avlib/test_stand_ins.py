"""Learned stand-ins: a vector that the network reads in place of each step of a missing modality."""

import pytest
import torch

from avlib import FUSIONS, authors_state_dict, build_model

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
