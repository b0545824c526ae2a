"""Conditions change what they should and leave the rest: shifts, noise of the level asked for, worse pictures."""

import math
import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from smoke_runs import clips_from_files

from avlib import build_model
from workbook import ROOT, InputError
from workbook.data.audio import mfcc, samples_of
from workbook.data.media import read_audio
from workbook.data.store import Store
from workbook.data.window import HOP, SAMPLE_RATE, cut_window
from workbook.evaluate.conditions import PLACES, Both, Context, Gone, Intact, Shift, Voice
from workbook.evaluate.corruptions import NOISES, Blurred, Coarse, Covered, Dark, Noisy
from workbook.studies import STUDIES, predictions, surface
from workbook.studies.estimates import select
from workbook.task import Classification
from workbook.train.batches import Clips
from workbook.train.descriptors import TILE

B, Ta, Tv, Ca, Cv = 12, 29, 5, 7, 11


@pytest.fixture
def features(tmp_path):
    """Twelve clips of features of two people, two of each of three labels."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"clip": list("abcdefghijkl"), "actor": np.repeat([1, 2], 6), "label": np.arange(B) % 3})
    table = table.assign(has_audio=True, has_video=True)
    arrays = rng.standard_normal((B, Tv, Cv), np.float32), rng.standard_normal((B, Ca, Ta), np.float32)
    store = Store(tmp_path, table, *arrays, pd.DataFrame(), {"fingerprint": "abc", "names": ["x", "y", "z"]})
    return Clips(store, np.arange(B), table["label"].to_numpy(), Classification(("x", "y", "z")))


def applied(condition, clips):
    """The whole of the clips before and after a condition."""
    chosen = torch.arange(len(clips))
    audio, video, _ = clips[chosen]
    return (audio, video), condition(audio, video, Context(clips, chosen, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("by, expected", [(0.1, 3), (-0.1, -3), (0, 0), (2, 29)])
def test_sound_of_features_is_shifted_by_whole_steps_and_zeros_come_in(by, expected, features):
    (audio, video), (shifted, same) = applied(Shift(by), features)
    assert same is video
    for step in range(Ta):
        source = step + expected
        wanted = audio[..., source] if 0 <= source < Ta else torch.zeros_like(audio[..., 0])
        assert torch.equal(shifted[..., step], wanted)


@pytest.mark.parametrize("modality, axis, steps", [("audio", 2, Ta), ("video", 1, Tv)])
@pytest.mark.parametrize("where", PLACES)
def test_the_asked_share_of_steps_is_gone_and_the_others_stay(modality, axis, steps, where, features):
    before, after = applied(Gone(modality, 0.3, where), features)
    place = 0 if modality == "audio" else 1
    assert after[1 - place] is before[1 - place]
    given, found = (each[place].movedim(axis, 1).flatten(2) for each in (before, after))
    gone = ~found.any(dim=2)  # (N, T)
    assert (gone.sum(dim=1) == round(0.3 * steps)).all()
    assert torch.equal(found[~gone], given[~gone])
    first = {"start": 0, "middle": (steps - gone[0].sum()) // 2, "end": steps - gone[0].sum()}.get(where)
    if where == "scattered":
        assert (gone != gone[0]).any() and (gone.int().diff().abs().sum(dim=1) > 2).any()
        more = Gone(modality, 0.6, where).steps(B, steps, torch.Generator().manual_seed(0))
        assert (more | ~gone).all(), "a larger share takes more of the same steps"
    else:
        assert (gone == gone[0]).all() and gone[0].int().argmax() == first


def test_steps_of_another_clip_are_never_the_clips_own_unless_it_is_the_only_one(features):
    (audio, _), (other, _) = applied(Gone("audio", fill="another clip"), features)
    sources = [(audio == one).flatten(1).all(dim=1).nonzero().item() for one in other]
    assert all(source != place for place, source in enumerate(sources)) and len(set(sources)) > B / 3
    (audio, _), (same, _) = applied(Gone("audio", fill="another clip"), features.where(features.table["clip"] == "h"))
    assert torch.equal(same, audio)


def test_a_voice_is_another_clip_of_the_same_actor_with_that_emotion(features):
    (audio, video), (voiced, same) = applied(Voice(2, "z"), features)
    assert same is video
    actors = features.table["actor"]
    for place, one in enumerate(voiced):
        sources = (audio == one).flatten(1).all(dim=1).nonzero()[:, 0].tolist()
        assert place not in sources and (features.labels[sources] == 2).all() and {*actors[sources]} == {actors[place]}
    few = features.where(features.table.index < 3)  # one clip of each emotion
    (own, _), (voiced, _) = applied(Voice(2, "z"), few)
    assert all(torch.equal(one, own[2]) for one in voiced), "the only one keeps its own voice"


@pytest.fixture(scope="module")
def heard(small_toy, tmp_path_factory):
    """Eight clips of the toy corpus, of four actors, from their files."""
    return clips_from_files(small_toy, tmp_path_factory.mktemp("heard"), 8)


def test_a_shift_reads_what_lies_outside_of_the_window(heard):
    steps = 13
    by = steps * HOP / SAMPLE_RATE
    (audio, video), (shifted, same) = applied(Shift(by), heard)
    assert same is video and shifted.shape == audio.shape
    for row, clip in enumerate(heard.table.itertuples()):
        moved = mfcc(cut_window(read_audio(clip.audio_path), clip.window_start + by))
        np.testing.assert_array_equal(shifted[row], moved)
        np.testing.assert_allclose(shifted[row, :, 2:100], audio[row, :, 2 + steps : 100 + steps], atol=1e-2)
    torch.testing.assert_close(applied(Shift(0.0), heard)[1][0], audio)
    silent = applied(Shift(100.0), heard)[1][0]
    assert torch.equal(silent, silent[:, :, :1].expand_as(silent)), "nothing is heard after the end"


def test_a_clip_without_sound_stops_no_study_and_counts_in_none(small_toy, tmp_path):
    clips = clips_from_files(small_toy, tmp_path, 8)
    net, conditions = build_model("ia", image_size=64).eval(), [Shift(0.5), Noisy("babble", 0)]
    expected = predictions(net, clips, conditions, fold=0, seed=1)
    clips.store.clips.loc[clips.rows[3], ["has_audio", "audio_path"]] = False, ""
    silent = predictions(net, clips.where(clips.table["clip"] != ""), conditions, fold=0, seed=1)
    assert silent["condition"].value_counts().to_dict() == {"sound +0.5": 7, "babble noise at 0 dB": 7}
    shifted = [rows[rows["condition"] == "sound +0.5"].set_index("clip")["p0"] for rows in (expected, silent)]
    assert shifted[1].to_dict() == pytest.approx(shifted[0].drop(clips.table["clip"][3]).to_dict(), abs=1e-6)


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("snr", [-10, 20])
def test_the_snr_measured_on_the_output_is_the_one_asked_for(kind, snr, heard):
    for place in range(3):
        clean = samples_of(heard.store, heard.rows[place])
        noise = Noisy(kind, snr).samples(heard, place, seed=7).astype(float) - clean
        measured = 10 * np.log10(np.mean(clean.astype(float) ** 2) / np.mean(noise**2))
        assert measured == pytest.approx(snr, abs=0.1)


def test_white_noise_hum_and_babble_are_what_they_are_called(heard):
    rng, length = np.random.default_rng(0), 2 * SAMPLE_RATE
    power = {kind: np.abs(np.fft.rfft(NOISES[kind](heard, 0, length, rng))) ** 2 for kind in ("white", "hum")}
    hertz = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
    low = hertz < SAMPLE_RATE / 4
    assert power["white"][low].sum() == pytest.approx(power["white"][~low].sum(), rel=0.05)
    assert sorted(hertz[np.argsort(power["hum"])[-6:]]) == [50, 100, 150, 200, 250, 300]
    alone = heard.where(heard.table["actor"] == heard.table["actor"][0])
    with pytest.raises(InputError, match="babble needs other people's voices, and all clips are of actor"):
        applied(Noisy("babble", 0), alone)


@pytest.mark.parametrize("picture", [Blurred(5), Dark(50), Coarse(4), Covered(50)], ids=lambda one: one.name)
def test_a_picture_keeps_its_shape_and_its_sound_and_loses_what_it_should(picture, heard):
    (audio, video), (same, worse) = applied(picture, heard)
    assert same is audio and worse.shape == video.shape and worse.min() >= 0 and worse.max() <= 1
    fine = video.diff(dim=-1).abs().mean()
    lost = {
        "blurred 5 %": worse.diff(dim=-1).abs().mean() < fine / 2 and abs(worse.mean() - video.mean()) < 0.02,
        "dark 50 %": torch.allclose(worse, video / 2),
        "coarse 4 pixels": len(worse[0, 0, 0].unique()) <= 16,
        "covered 50 %": not worse[..., 32:, :].any() and torch.equal(worse[..., :32, :], video[..., :32, :]),
    }
    assert lost[picture.name]


def test_a_picture_of_ones_own_is_one_method_and_meets_any_sound(heard):
    """The example of docs/studies.md, as it is printed."""
    page = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8").split("## A condition of your own")[1]
    names = {}
    exec(re.search(r"^```python\n(.*?)^```", page, re.M | re.S)[1], names)
    (audio, video), (same, mirrored) = applied(names["Mirrored"](100), heard)
    assert same is audio and torch.equal(mirrored, video.flip(-1))
    rows = predictions(build_model("ia", image_size=64), heard, names["conditions"], fold=0, seed=1)
    assert list(rows["condition"].unique()) == ["mirrored 100 %", "babble noise at 5 dB and mirrored 100 %"]
    assert Both(None, None).name == "AV"


def test_the_surface_has_each_pair_and_says_where_sound_is_ahead(heard, monkeypatch):
    monkeypatch.setattr(surface, "SNRS", (0,))
    monkeypatch.setattr(surface, "PICTURES", (Dark(50),))
    torch.manual_seed(0)
    net, asked = build_model("ia", image_size=64).eval(), surface.conditions(heard)
    described = []
    net.frame_network.register_forward_hook(lambda module, inputs, output: described.append(len(output)))
    rows = predictions(net, heard, asked, fold=0, seed=1)
    assert described == [TILE] * 3, "the 16 frames of 8 clips, dark ones once for all sounds, and a black one"
    rng = np.random.default_rng(0)
    guesses = rows.assign(label=0, p0=rng.random(len(rows)), p1=rng.random(len(rows)))
    table = STUDIES["surface"].table({"mine": guesses}, asked)
    cells = select(table, measure="ahead")
    assert {*zip(cells["snr"], cells["picture"], strict=True)} == {*product((np.inf, 0), ("AV", "dark 50 %"))}
    of_sound = select(table, measure="accuracy", sound="white noise at 0 dB", picture="all video gone")["value"].iloc[0]
    of_picture = select(table, measure="accuracy", sound="all audio gone", picture="dark 50 %")["value"].iloc[0]
    assert select(cells, snr=0, picture="dark 50 %")["value"].iloc[0] == pytest.approx(of_sound - of_picture) != 0
    whole = predictions(net, heard, [Intact()], fold=0, seed=1)
    np.testing.assert_allclose(rows[rows["condition"] == "AV"]["p0"], whole["p0"], atol=1e-6)
    assert "the accuracy of mine" in STUDIES["surface"].sentence(table)


def test_a_blur_in_two_passes_is_the_gaussian_of_two_dimensions():
    frames, sigma = torch.rand(2, 3, 37, 41), 0.1 * 41
    reach = torch.arange(-math.ceil(3 * sigma), math.ceil(3 * sigma) + 1)
    line = (-(reach**2) / (2 * sigma**2)).exp()
    kernel = (line[:, None] * line / line.sum() ** 2).expand(3, 1, -1, -1)
    padded = torch.nn.functional.pad(frames, [len(reach) // 2] * 4, mode="reflect")
    expected = torch.nn.functional.conv2d(padded, kernel, groups=3)
    torch.testing.assert_close(Blurred(10).changed(frames, None), expected, rtol=0, atol=1e-5)
