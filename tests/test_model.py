import subprocess
import sys

import pytest
import torch

import avlib
from avlib import FUSIONS, InputError, build_model
from avlib.efficientface import EfficientFace, shuffle_channels
from avlib.encoders import audio_seconds

# Trainable parameters with 8 classes: EfficientFace, two branches, fusion and classifier, counted on paper below.
PARAMETERS = {"lt": 2_043_486, "it": 1_936_350, "ia": 1_815_646, "audio": 225_864, "video": 1_552_926}


def count(module):
    return sum(weight.numel() for weight in module.parameters())


def test_no_fusion_is_missing_from_the_parameter_table():
    assert set(PARAMETERS) == set(FUSIONS)


@pytest.mark.parametrize("fusion", PARAMETERS)
def test_every_system_has_the_parameters_of_the_table(fusion):
    assert count(build_model(fusion)) == PARAMETERS[fusion]


def test_the_audio_branch_has_the_parameters_that_table_1_implies():
    layers = [(10, 64), (64, 128), (128, 256), (256, 128)]
    expected = sum(3 * inputs * outputs + outputs + 2 * outputs for inputs, outputs in layers)
    assert count(build_model("audio").audio) == expected


def test_intermediate_attention_adds_only_queries_and_keys():
    assert count(build_model("ia").fusion) == 128 * 128 + 64 * 128 + 64 * 64 + 128 * 64


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_system_returns_logits_and_named_attention(fusion, heads):
    if heads > 1 and not FUSIONS[fusion].widths:
        pytest.skip(f"{fusion} has no attention to split into heads")
    B, Tv = 2, 3
    output = build_model(fusion, heads, classes=7, image_size=64)(torch.randn(B, 10, 156), torch.rand(B, Tv, 3, 64, 64))
    Ta = 144 if fusion == "lt" else 150
    shapes = {name: tuple(tensor.shape) for name, tensor in output.attention.items()}
    maps = {"video_to_audio": (B, heads, Ta, Tv), "audio_to_video": (B, heads, Tv, Ta)}
    vectors = {"video": (B, Tv), "audio": (B, Ta)}
    assert output.logits.shape == (B, 7)
    assert shapes == {"audio": {}, "video": {}, "ia": maps | vectors}.get(fusion, maps)


@pytest.mark.parametrize("fusion", ["lt", "it", "ia"])
def test_attention_over_the_keys_sums_to_one(fusion):
    attention = (
        build_model(fusion, 4, image_size=64).eval()(torch.randn(2, 10, 156), torch.rand(2, 3, 3, 64, 64)).attention
    )
    for name in ("video_to_audio", "audio_to_video"):
        total = attention[name].sum(dim=-1)
        torch.testing.assert_close(total, torch.ones_like(total))


def test_without_video_the_attention_over_video_is_even_in_intermediate_attention():
    net = build_model("ia", image_size=64).eval()
    video = net(torch.randn(2, 10, 156), torch.zeros(2, 3, 3, 64, 64)).attention["video"]
    torch.testing.assert_close(video, video.mean(dim=1, keepdim=True).expand_as(video), rtol=0.05, atol=0)


@pytest.mark.parametrize("fusion, ignored", [("audio", "video"), ("video", "audio")])
def test_a_single_modality_model_does_not_read_the_other(fusion, ignored):
    net = build_model(fusion, image_size=64).eval()
    audio, video = torch.randn(2, 10, 156), torch.rand(2, 3, 3, 64, 64)
    other = (audio, video * 0) if ignored == "video" else (audio * 0, video)
    assert torch.equal(net(audio, video).logits, net(*other).logits)


@pytest.mark.parametrize("size", [64, 96, 224])
def test_efficientface_describes_faces_of_any_multiple_of_32(size):
    assert EfficientFace().eval()(torch.rand(2, 3, size, size)).shape == (2, 1024)


def test_each_quarter_of_the_face_has_filters_of_its_own():
    local = EfficientFace().eval().local
    maps = torch.randn(1, 29, 16, 16, requires_grad=True)
    local(maps)[..., :4, 4:].sum().backward()  # the top right quarter of what comes out
    touched = maps.grad.abs().sum(dim=(0, 1)) > 0
    assert touched[:8, 8:].all() and not touched[8:].any() and not touched[:, :8].any()


def test_channels_are_shuffled_as_torch_does_it():
    maps = torch.randn(2, 6, 5, 7)
    assert torch.equal(shuffle_channels(maps), torch.nn.functional.channel_shuffle(maps, 2))


@pytest.mark.parametrize("step", [0, 17, 149])
def test_the_seconds_of_an_audio_step_are_the_middle_of_what_it_sees(step):
    seen = support(build_model("audio").audio.eval().stage1, step)
    assert float(audio_seconds(150, 156, hop_seconds=1.0)[step]) == pytest.approx((seen[0] + seen[-1]) / 2)


def support(stage, step):
    """The MFCC steps that can reach output `step`, found by perturbing each of them."""
    mfcc = torch.randn(1, 10, 156)
    base = stage(mfcc)[0, :, step]
    reached = []
    for position in range(156):
        for push in (50.0, -50.0):
            moved = mfcc.clone()
            moved[0, :, position] += push
            if not torch.equal(stage(moved)[0, :, step], base):
                reached.append(position)
    return sorted(set(reached))


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"fusion": "xx"}, "fusion is 'xx'; choose one of lt, it, ia"),
        ({"heads": 3}, "heads is 3, which does not divide the attention width of fusion 'ia' \\(64 and 128\\)"),
        ({"heads": 0}, "heads is 0"),
        ({"fusion": "audio", "heads": 4}, "has no attention: leave heads at 1"),
        ({"image_size": 100}, "choose a multiple of 32 from 64"),
        ({"image_size": 32}, "choose a multiple of 32 from 64"),
        ({"classes": 1}, "at least 2"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        build_model(**arguments)


def test_a_model_can_be_used_without_the_wings_being_installed():
    blocked = [
        "librosa",
        "facenet_pytorch",
        "captum",
        "papermill",
        "av",
        "jupyterlab",
        "matplotlib",
        "pydantic",
        "click",
    ]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked}))\n"
        "import torch, avlib, avlib.training, avlib.evaluation\n"
        "net = avlib.build_model('ia', image_size=64)\n"
        "assert net(torch.randn(2, 10, 156), torch.rand(2, 3, 3, 64, 64)).logits.shape == (2, 8)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=avlib.ROOT)


def test_importing_avlib_loads_nothing_heavy():
    code = "import sys, avlib; assert not {'torch', 'timm', 'librosa', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=avlib.ROOT)
