import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import workbook
from avlib import FUSIONS, build_model
from avlib.efficientface import interleave
from avlib.encoders import audio_seconds
from avlib.fusion import check_heads
from avlib.mult import future_mask

# The table in docs/systems.md: system, its cells in order. Parameters are counted on paper below.
LINES = (workbook.ROOT / "docs" / "systems.md").read_text(encoding="utf-8").splitlines()
TABLE = [[cell.strip() for cell in line.strip("|").split("|")] for line in LINES if line.startswith("| `")]
ROWS = {cells[0].strip("`"): cells for cells in TABLE}

# The maps of the systems that come with the workbook.
ACROSS, WITHIN = ("video_to_audio", "audio_to_video"), ("audio_to_audio", "video_to_video")
DIRECTIONS = {
    **dict.fromkeys(("lt", "it", "ia", "cma"), ACROSS),
    **dict.fromkeys(("mlt", "mult"), ACROSS + WITHIN),
    **{"tav": ACROSS[1:], "tva": ACROSS[:1]},
    **dict.fromkeys(("film", "early", "bilinear", "concat", "audio", "video"), ()),
}
POLICY = "OMP_WAIT_POLICY"
EXCHANGING = [name for name, fusion in FUSIONS.items() if fusion.widths]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_system_has_the_parameters_that_the_docs_say(fusion):
    assert list(ROWS) == list(FUSIONS), "docs/systems.md: its table must have a row for each entry of FUSIONS, in order"
    counted = f"{sum(weight.numel() for weight in build_model(fusion).parameters()):,}".replace(",", " ")
    assert len(ROWS[fusion]) == 5 and all(ROWS[fusion]), f"docs/systems.md: a cell of `{fusion}` is empty"
    assert ROWS[fusion][3] == counted, f"docs/systems.md: `{fusion}` has {counted} parameters"


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("fusion", DIRECTIONS)
def test_every_system_returns_logits_and_named_attention(fusion, heads):
    if heads > 1 and (not FUSIONS[fusion].widths or fusion == "mult"):
        pytest.skip(f"{fusion} has no attention that could be split into {heads} heads")
    B, Tv = 2, 3
    net = build_model(fusion, heads, classes=7, image_size=64).eval()
    output = net(torch.randn(B, 10, 156), torch.rand(B, Tv, 3, 64, 64))
    Ta, H = {"it": 150, "ia": 150, "mult": 156}.get(fusion, 144), check_heads(fusion, heads)
    steps = {"audio": Ta, "video": Tv}
    expected = {}
    for direction in DIRECTIONS[fusion]:
        key, query = direction.split("_to_")
        expected[direction] = (B, H, steps[query], steps[key])
    if fusion == "ia":
        expected |= {"video": (B, Tv), "audio": (B, Ta)}
    assert output.logits.shape == (B, 7)
    assert {name: tuple(tensor.shape) for name, tensor in output.attention.items()} == expected
    for name in DIRECTIONS[fusion]:
        total = output.attention[name].sum(dim=-1)
        torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_heads_are_accepted_where_they_divide_every_attention_width(fusion):
    own, widths = 5 if fusion == "mult" else None, FUSIONS[fusion].widths
    for heads in range(1, 9):
        fits = heads in (1, own) if own else heads == 1 if not widths else all(width % heads == 0 for width in widths)
        if fits:
            assert check_heads(fusion, heads) == (own or heads)
        else:
            with pytest.raises(ValueError, match=f"heads is {heads}"):
                check_heads(fusion, heads)


def test_every_parameter_of_every_system_is_trained():
    for fusion in FUSIONS:
        net = build_model(fusion, image_size=64)
        net(torch.randn(2, 10, 156), torch.rand(2, 3, 3, 64, 64)).logits.square().sum().backward()
        assert not [name for name, weight in net.named_parameters() if weight.grad is None], fusion


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
@pytest.mark.parametrize("fusion", EXCHANGING)
def test_even_attention_stays_even_in_training(fusion, optimizer):
    net = build_model(fusion, video_channels=7, even_attention=True)
    audio, video = torch.randn(3, 10, 29), torch.randn(3, 5, 7)
    before = net.eval()(audio, video)
    steps = optimizer(net.train().parameters(), 0.01, weight_decay=0.1)
    for _ in range(2):
        steps.zero_grad()
        net(audio, video).logits.square().sum().backward()
        steps.step()
    after = net.eval()(audio, video)
    assert not torch.equal(before.logits, after.logits)
    for name, weights in after.attention.items():
        assert torch.equal(weights, before.attention[name])
        if fusion != "mult":  # which hides later keys
            torch.testing.assert_close(weights, weights.mean(dim=-1, keepdim=True).expand_as(weights))


@pytest.mark.parametrize("fusion", EXCHANGING)
@pytest.mark.parametrize("missing", ["audio", "video"])
def test_gradients_are_finite_without_a_modality(fusion, missing):
    net = build_model(fusion, image_size=64)
    audio, video = torch.randn(2, 10, 156), torch.rand(2, 3, 3, 64, 64)
    net(audio * (missing != "audio"), video * (missing != "video")).logits.square().sum().backward()
    assert all(weight.grad.isfinite().all() for weight in net.parameters())


def test_without_audio_tav_cannot_tell_one_clip_from_another():
    net = build_model("tav", image_size=64).eval()
    logits = net(torch.zeros(5, 10, 156), torch.rand(5, 3, 3, 64, 64)).logits
    torch.testing.assert_close(logits, logits[:1].expand(5, -1))
    heard = net(torch.randn(5, 10, 156), torch.rand(5, 3, 3, 64, 64)).logits
    assert not torch.allclose(heard, heard[:1].expand(5, -1))


def test_statistics_are_pooled_as_numpy_computes_them():
    audio, video = torch.randn(2, 128, 7), torch.randn(2, 128, 5)
    pooled = build_model("cma").fusion.pool(audio, video).numpy()
    parts = [part for steps in (audio.numpy(), video.numpy()) for part in (steps.mean(-1), steps.std(-1))]
    np.testing.assert_allclose(pooled, np.concatenate(parts, axis=1), atol=1e-4)


def test_film_scales_and_shifts_each_channel_by_the_mean_of_the_other_branch():
    fusion = build_model("film").fusion
    audio, video = torch.randn(2, 128, 7), torch.randn(2, 64, 5)
    scaled, _, attention = fusion.after_stage1(audio, video)
    weight, bias = fusion.video_to_audio.weight.detach().numpy(), fusion.video_to_audio.bias.detach().numpy()
    coefficients = video.numpy().mean(axis=2) @ weight.T + bias
    expected = audio.numpy() * (1 + coefficients[:, :128, None]) + coefficients[:, 128:, None]
    np.testing.assert_allclose(scaled.detach().numpy(), expected, atol=1e-5)
    assert attention == {}


def test_early_shows_each_step_of_a_branch_the_mean_of_the_other_one():
    fusion = build_model("early").fusion
    audio, video = torch.randn(2, 128, 7), torch.randn(2, 64, 5)
    seen = torch.cat([video[:, :, 3], audio.mean(dim=2)], dim=1).numpy()
    weight, bias = fusion.video.weight.detach().numpy()[..., 0], fusion.video.bias.detach().numpy()
    step = fusion.after_stage1(audio, video)[1][:, :, 3].detach().numpy()
    np.testing.assert_allclose(step, np.maximum(seen @ weight.T + bias, 0), atol=1e-5)


def test_bilinear_pooling_is_the_tensor_of_both_means_times_factors_of_low_rank():
    fusion = build_model("bilinear").fusion
    audio, video = torch.randn(2, 128, 7), torch.randn(2, 128, 5)
    factors, means = [], []
    for steps, (norm, linear) in ((audio, fusion.audio), (video, fusion.video)):
        means.append(torch.cat([norm(steps.mean(dim=2)), torch.ones(2, 1)], dim=1))  # (B, 129)
        factors.append(torch.cat([linear.weight, linear.bias[:, None]], dim=1))  # (rank, 129)
    products = torch.einsum("bi,bj->bij", *means)
    expected = torch.einsum("bij,ri,rj->br", products, *factors)
    torch.testing.assert_close(fusion.pool(audio, video), expected, rtol=1e-3, atol=1e-3)


def test_a_query_of_mult_sees_as_many_keys_ahead_as_the_lengths_differ_by():
    assert future_mask(2, 2, "cpu").tolist() == [[False, True], [False, False]]
    assert future_mask(2, 4, "cpu").tolist() == [[False, False, False, True], [False, False, False, False]]
    assert not future_mask(5, 2, "cpu").any()


def test_zeroed_sound_receives_even_attention_but_still_chooses_among_frames():
    """Section III.C expects a constant vector; biases of stage 1 make queries of zeroed sound, padding its ends."""
    torch.manual_seed(0)
    net = build_model("ia", video_channels=7).eval()
    for name, weight in net.named_parameters():
        if name.endswith("bias") or name.startswith("fusion"):  # as large as training may make them
            torch.nn.init.normal_(weight)
    attention = net(torch.zeros(2, 10, 156), torch.randn(2, 6, 7)).attention
    even = {name: attention[name].mean(dim=1, keepdim=True).expand_as(attention[name]) for name in ("audio", "video")}
    torch.testing.assert_close(attention["audio"], even["audio"])  # unpadded: all its steps are alike
    assert (attention["video"] / even["video"]).max() > 1.5


@pytest.mark.parametrize("fusion, ignored", [("audio", "video"), ("video", "audio")])
def test_a_single_modality_model_does_not_read_the_other(fusion, ignored):
    net = build_model(fusion, image_size=64).eval()
    audio, video = torch.randn(2, 10, 156), torch.rand(2, 3, 3, 64, 64)
    other = (audio, video * 0) if ignored == "video" else (audio * 0, video)
    assert torch.equal(net(audio, video).logits, net(*other).logits)


def test_channels_are_shuffled_as_torch_does_it():
    first, second = torch.randn(2, 3, 5, 7, requires_grad=True), torch.randn(2, 3, 5, 7, requires_grad=True)
    shuffled = torch.nn.functional.channel_shuffle(torch.cat([first, second], dim=1), 2)
    assert torch.equal(interleave(first, second), shuffled)
    pull = torch.randn_like(shuffled)
    ours, theirs = (torch.autograd.grad(maps, (first, second), pull) for maps in (interleave(first, second), shuffled))
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("step", [0, 17, 149])
def test_the_seconds_of_an_audio_step_are_the_middle_of_what_it_sees(step):
    stage, mfcc = build_model("audio").audio.eval().stage1, torch.randn(1, 10, 156)
    moved = mfcc + 50 * torch.cat([torch.eye(156), -torch.eye(156)])[:, None]  # one step of the MFCCs at a time
    changes = (stage(moved) - stage(mfcc))[:, :, step].abs().amax(dim=1) > 1e-4
    seen = changes.view(2, 156).any(dim=0).nonzero().flatten()
    assert float(audio_seconds(150, 156, hop_seconds=1.0)[step]) == pytest.approx(float(seen[0] + seen[-1]) / 2)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"fusion": "xx"}, "fusion is 'xx'; choose one of lt, it, ia"),
        ({"heads": 3}, "heads is 3, which does not divide the attention width of fusion 'ia' \\(64 and 128\\)"),
        ({"heads": 0}, "heads is 0"),
        ({"fusion": "tav", "heads": 3}, "the attention width of fusion 'tav' \\(128\\): choose one of 1, 2, 4"),
        ({"fusion": "mult", "heads": 4}, "heads is 4, but fusion 'mult' has 5 heads by design: leave heads at 1"),
        ({"fusion": "mult", "dense_head": True}, "fusion 'mult' has a dense head by design: leave it at false"),
        ({"fusion": "audio", "heads": 4}, "has no attention: leave heads at 1"),
        ({"image_size": 100}, "choose a multiple of 32 from 64"),
        ({"image_size": 32}, "choose a multiple of 32 from 64"),
        ({"classes": 0}, "at least 2"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        build_model(**arguments)


@pytest.mark.parametrize("given, count", [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({POLICY: "ACTIVE"}, "None")])
def test_waiting_threads_soon_sleep_unless_told_otherwise(given, count):
    environment = {key: text for key, text in os.environ.items() if key not in ("GOMP_SPINCOUNT", POLICY)} | given
    command = [sys.executable, "-c", "import workbook, os; print(os.environ.get('GOMP_SPINCOUNT'))"]
    assert subprocess.check_output(command, env=environment, cwd=workbook.ROOT, text=True).strip() == count
