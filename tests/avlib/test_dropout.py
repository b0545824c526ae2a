import pytest
import torch

from avlib import modality_dropout
from avlib.dropout import IN_PLACE, variant_names, variants

B, Ta, Tv, S = 3, 11, 5, 7
TIMES = {"none": 1, "soft": 2, "hard": 3, "noise": 3, "softhard": 4, "learned": 4, "sampled": 1}


@pytest.fixture
def clips():
    torch.manual_seed(0)
    return torch.randn(B, 10, Ta) + 5, torch.rand(B, Tv, 3, S, S) + 0.1, torch.tensor([2, 0, 1])


def views(kind, clips, seed=0):
    """The batch cut into its views: a list of (audio, video, labels), B clips each."""
    batch = modality_dropout(kind, *clips, generator=torch.Generator().manual_seed(seed))
    return list(zip(*(part.split(B) for part in batch), strict=True))


@pytest.mark.parametrize("kind", TIMES)
def test_the_batch_grows_by_the_documented_multiple_and_labels_follow(kind, clips):
    parts = views(kind, clips)
    assert len(parts) == len(variant_names(kind)) == len(variants(kind, *clips[:2], torch.Generator())) == TIMES[kind]
    assert all(torch.equal(labels, clips[2]) for _, _, labels in parts)
    assert ("full" in variant_names(kind)) == (kind not in IN_PLACE)
    if kind not in IN_PLACE:
        assert torch.equal(parts[0][0], clips[0]) and torch.equal(parts[0][1], clips[1]), "the first is the clip itself"


@pytest.mark.parametrize("kind", ["hard", "softhard"])
def test_hard_views_lose_one_modality_and_keep_the_other(kind, clips):
    (quiet, seen, _), (heard, dark, _) = views(kind, clips)[-2:]
    assert not quiet.any() and torch.equal(seen, clips[1])
    assert torch.equal(heard, clips[0]) and not dark.any()


@pytest.mark.parametrize("kind", ["soft", "softhard"])
def test_soft_views_share_one_coefficient_per_clip_between_the_modalities(kind, clips):
    audio, video, _ = views(kind, clips)[1]
    alpha, beta = audio / clips[0], video / clips[1]
    assert torch.allclose(alpha, alpha[:, :1, :1].expand_as(alpha)) and alpha.min() >= 0 and alpha.max() < 1
    assert torch.allclose(beta, beta[:, :1, :1, :1, :1].expand_as(beta))
    assert torch.allclose(alpha[:, 0, 0] + beta[:, 0, 0, 0, 0], torch.ones(B))
    assert len(alpha[:, 0, 0].unique()) == B


def test_noise_views_replace_one_modality_by_standard_normal_noise():
    clips = torch.ones(B, 10, 997), torch.ones(B, Tv, 3, 31, 31), torch.arange(B)
    (noisy, still, _), (silent, flicker, _) = views("noise", clips)[1:]
    assert torch.equal(silent, clips[0]) and torch.equal(still, clips[1])
    for noise in (noisy, flicker):
        assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02


def many_clips(B=997):
    torch.manual_seed(0)
    return torch.randn(B, 2, 3) + 5, torch.rand(B, 2, 3, 2, 2) + 0.1, torch.arange(B)


def present(audio, video):
    return audio.flatten(1).any(dim=1), video.flatten(1).any(dim=1)


def test_sampled_clips_lose_one_modality_each_and_either_about_as_often():
    clips = many_clips()
    audio, video, labels = modality_dropout("sampled", *clips, generator=torch.Generator().manual_seed(0))
    heard, seen = present(audio, video)
    assert (heard ^ seen).all() and torch.equal(labels, clips[2])
    assert torch.equal(audio[heard], clips[0][heard]) and torch.equal(video[seen], clips[1][seen])
    assert 0.45 < heard.float().mean() < 0.55  # 3 standard deviations


def test_sampled_clips_that_lack_a_modality_keep_what_they_have():
    audio, video, labels = many_clips()
    audio[:300], video[300:600] = 0, 0
    generator = torch.Generator().manual_seed(0)
    sampled = modality_dropout("sampled", audio, video, labels, generator)
    for ours, given in zip(sampled[:2], (audio, video), strict=True):
        assert torch.equal(ours[:600], given[:600])
    heard, seen = present(*sampled[:2])
    assert (heard ^ seen).all()


def test_noise_takes_no_clip_s_only_modality():
    audio, video, labels = many_clips(9)
    audio[:3], video[3:6] = 0, 0
    audios, videos, _ = modality_dropout("noise", audio, video, labels, torch.Generator().manual_seed(0))
    _, noisy, heard = audios.split(9)
    _, seen, flicker = videos.split(9)
    assert torch.equal(noisy[3:6], audio[3:6]) and torch.equal(flicker[:3], video[:3])
    assert torch.equal(heard, audio) and torch.equal(seen, video)
    rest = [*range(3), *range(6, 9)]
    assert (noisy[rest] != audio[rest]).all() and (flicker[3:] != video[3:]).all()


@pytest.mark.parametrize("kind", ["soft", "noise", "sampled"])
def test_the_generator_decides_alone(kind, clips):
    first, again, other = views(kind, clips), views(kind, clips), views(kind, clips, seed=1)
    assert torch.equal(first[-1][0], again[-1][0])
    assert not torch.equal(first[1 % len(first)][0], other[1 % len(first)][0])


def test_an_unknown_kind_is_refused_with_the_choices():
    with pytest.raises(
        ValueError, match="dropout is 'some'; choose one of none, hard, soft, softhard, noise, learned, sampled"
    ):
        modality_dropout("some", torch.zeros(1, 10, 5), torch.zeros(1, 2, 3, 4, 4), torch.zeros(1))
