"""Studies of networks whose answers are known by construction."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from avlib.attention import Output
from workbook import InputError
from workbook.data.store import Store
from workbook.evaluate.conditions import PLACES, Gone, Intact, Missing
from workbook.studies import STUDIES, calibration, credit, loss, offset, predictions
from workbook.studies.estimates import select
from workbook.task import Classification
from workbook.train.batches import Clips

K, ACTORS, TAKES, Ta, Tv = 3, 5, 4, 20, 10
N = K * ACTORS * TAKES
HOW = {"fold": 0, "seed": 1}


class Known(nn.Module):
    """A network that reads each clip's posteriors from its two modalities: `listens` hears, `averages` weighs both.

    A modality that is all zeros says nothing: its posterior is even.
    """

    def __init__(self, picture: float, sound: float):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([sound, picture]))
        self.fusion, self.asked = SimpleNamespace(modalities=("audio", "video")), 0

    def describe(self, video):
        return video

    def encode(self, audio, video):
        self.asked += 1
        return audio.sum(dim=2), video.sum(dim=1)

    def fuse(self, *evidence):
        even = torch.full_like(evidence[0], 1 / K)
        parts = [torch.where(one.sum(1, keepdim=True) > 0, one / one.sum(1, keepdim=True), even) for one in evidence]
        return Output(sum(w * part for w, part in zip(self.weights, parts, strict=True)).log(), {})


def listens():
    return Known(picture=0.0, sound=1.0)


def averages():
    return Known(picture=0.5, sound=0.5)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Clips whose every step holds a posterior; the true label has 0.6 in sound and 0.8 in picture, others share."""
    rng, labels = np.random.default_rng(0), np.tile(np.arange(K), ACTORS * TAKES)
    table = pd.DataFrame({"clip": [f"c{row:02d}" for row in range(N)], "actor": np.repeat(range(ACTORS), K * TAKES)})
    table = table.assign(label=labels, has_audio=True, has_video=True)
    posteriors = [np.where(np.eye(K)[labels] > 0, top, (1 - top) / (K - 1)) for top in (0.6, 0.8)]
    loud = rng.uniform(1, 2, (N, 1, Ta))  # a weight of each step, which the sum over steps divides out
    audio, video = posteriors[0][:, :, None] * loud, posteriors[1][:, None, :].repeat(Tv, axis=1)
    arrays = video.astype(np.float32), audio.astype(np.float32)
    manifest = {"fingerprint": "abc", "names": ["x", "y", "z"]}
    store = Store(tmp_path_factory.mktemp("known"), table, *arrays, pd.DataFrame(), manifest)
    return Clips(store, np.arange(N), labels, Classification(("x", "y", "z")))


def results(study, predictions, conditions):
    return pd.DataFrame(study.results(predictions, conditions))


def asked(study, clips, conditions=None, **nets):
    """The table of a study about these networks."""
    conditions = conditions or study.conditions(clips)
    return study.table({name: predictions(net, clips, conditions, **HOW) for name, net in nets.items()}, conditions)


def answered(sure, condition="AV", **columns):
    """Predictions of two classes for clips whose label is the first; sure : its probability (N,)."""
    sure = np.asarray(sure, float)
    table = pd.DataFrame({"clip": np.arange(len(sure)), "actor": np.arange(len(sure)) % 4, "fold": 0, "label": 0})
    return table.assign(condition=condition, p0=sure, p1=1 - sure, **columns)


def test_a_study_that_was_stopped_goes_on_without_trying_a_condition_twice(clips, tmp_path):
    conditions, path, net = loss.conditions(clips), tmp_path / "kept.parquet", averages()
    whole = predictions(net, clips, conditions, **HOW)
    batches, forward = net.asked // len(conditions), net.fuse
    net.asked, net.fuse = 0, lambda *evidence: forward(*evidence if net.asked <= 20 * batches else [])
    with pytest.raises(IndexError):
        predictions(net, clips, conditions, **HOW, path=path)
    assert pd.read_parquet(path)["condition"].nunique() == 20, "each condition that was finished"
    net.fuse, net.asked = forward, 0
    again = predictions(net, clips, conditions, **HOW, path=path)
    assert net.asked == (len(conditions) - 20) * batches
    pd.testing.assert_frame_equal(again, whole, check_dtype=False)
    net.asked = 0
    some = predictions(net, clips, conditions[3:5], **HOW, path=path)
    assert net.asked == 0 and list(some["condition"].unique()) == [one.name for one in conditions[3:5]]


def test_another_network_other_clips_or_a_changed_condition_are_tried_anew(clips, tmp_path):
    path = tmp_path / "kept.parquet"
    predictions(averages(), clips, [Intact(), Gone("audio")], **HOW, path=path)
    other = predictions(listens(), clips, [Intact()], **HOW, path=path)
    pd.testing.assert_frame_equal(other, predictions(listens(), clips, [Intact()], **HOW))
    few = clips.where(clips.table["actor"] == 0)
    others = (averages(), clips, 1, 0), (listens(), clips, 1, 0), (averages(), few, 1, 0), (averages(), clips, 2, 0)
    sources = set()
    for net, some, seed, fold in (*others, (averages(), clips, 1, 3)):
        predictions(net, some, [Intact()], fold=fold, seed=seed, path=path)
        sources.add(pd.read_parquet(path).attrs["source"])
    assert len(sources) == 5
    named = [Missing("V", "audio"), Missing("V", "video")]
    first, second = (predictions(averages(), clips, [one], **HOW, path=path) for one in named)
    assert not np.allclose(first["p0"], second["p0"]), "the same name, another value"
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"kept.parquet is damaged .*: delete it"):
        predictions(averages(), clips, [Intact()], **HOW, path=str(path))
    with pytest.raises(InputError, match="two conditions have the same name"):
        predictions(averages(), clips, named, **HOW)


def test_a_network_that_only_listens_is_flat_under_every_loss_of_picture(clips):
    table = asked(STUDIES["loss"], clips, loss.conditions(clips, levels=4), listens=listens())
    deaf = select(table, modality="video")
    assert {*select(deaf, measure="accuracy")["value"], *select(deaf, measure="area")["value"]} == {100.0}
    assert select(deaf, measure="confidence")["value"].to_numpy() == pytest.approx(60)
    assert len(select(deaf, measure="accuracy")) == len(PLACES) * (4 + 1)
    lost = select(table, modality="audio", measure="confidence", share=100.0)
    assert lost["value"].to_numpy() == pytest.approx(100 / K)


def test_where_half_a_modality_harms_the_other_alone_is_better_from_there_on(clips):
    names, shares = ["0", "50", "90", "100"], np.array([0, 0.5, 0.9, 1])
    rights = pd.DataFrame([[1, 1, 0, 1], [1, 0, 0, 0]], columns=names)
    measure = loss.better_alone(names, shares, "100", fewest=0.5)
    sums = measure.columns(rights).sum(axis=0)  # 2 1 0 1 1: equal to the end at 50 %, below it from there on
    assert measure.of(sums) == pytest.approx(50)
    assert measure.of(np.array([[2, 1.5, 0.5, 1, 1], [3, 2, 1, 0, 0]])) == pytest.approx([70, 100])
    assert loss.better_alone(names, shares, "100").of(sums) == 100, "one clip says nothing"


def test_a_modality_of_one_step_has_no_half(clips):
    store = clips.store
    short = Store(store.path, store.clips, store.video[:, :1], store.audio, pd.DataFrame(), store.manifest)
    one = Clips(short, clips.rows, clips.labels, clips.task)
    for study in ("loss", "calibration", "stand_ins"):
        gone = [each for each in STUDIES[study].conditions(one) if isinstance(each, Gone)]
        assert {each.share for each in gone if each.modality == "video"} == {1.0}
        assert {each.share for each in gone if each.modality == "audio"} > {1.0}


def test_the_credit_of_two_averaged_posteriors_is_known(clips):
    net, conditions = averages(), credit.conditions(clips)
    rows = predictions(net, clips, conditions, **HOW)
    table = results(credit, rows, conditions)
    whole = select(table, by="all").set_index("measure")["value"]
    gained = 100 - 100 / K  # without evidence it always says x, which a third of the clips are
    assert whole["sound"] + whole["picture"] == pytest.approx(gained)
    assert whole["either"] == 100 and whole["only both"] == whole["spoiled"] == 0, "each is right without the other"
    assert whole["together"] == pytest.approx(-gained)
    own = select(table, by="label", measure="sound").set_index("group")["value"]
    assert own.to_dict() == pytest.approx({"0": 0, "1": 50, "2": 50})
    alone = credit.shares(predictions(listens(), clips, conditions, **HOW), conditions)
    assert alone["picture"].abs().max() == 0 and alone["sound"].mean() == pytest.approx(gained / 100)


def test_a_clip_that_needs_both_one_that_needs_either_and_one_that_is_spoiled_are_told_apart():
    conditions = credit.conditions(clips=None)
    rights = [(1, 0, 0, 0), (1, 1, 1, 0), (0, 1, 0, 0), (0, 0, 0, 1)]  # of each clip: both, sound, picture, neither
    rows = [answered(hits, each.name) for hits, each in zip(np.transpose(rights), conditions, strict=True)]
    found = credit.shares(pd.concat(rows), conditions)
    assert found["together"].tolist() == [1, -1, -1, 1]
    assert found[[*credit.CASES]].to_numpy().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("named", [True, False], ids=["with a column seed", "in order"])
def test_credit_is_of_each_network_and_then_the_mean(named):
    """Three networks that know the same clips: a clip that one has right by either modality is no clip that needs both.

    The means over seeds say 10, 20 and 23 %, as if what a network hears had nothing to do with what it sees.
    """
    conditions, rng = credit.conditions(clips=None), np.random.default_rng(0)
    knows = rng.random((3, 500)) < 0.4
    tables = [
        answered(own & (condition is not conditions[-1]), condition.name, **({"seed": seed} if named else {}))
        for seed, own in enumerate(knows)
        for condition in conditions
    ]
    cases = select(results(credit, pd.concat(tables), conditions), by="all").set_index("measure")["value"]
    assert cases[[*credit.CASES]].tolist() == pytest.approx([0, 100 * knows.mean(), 0])


def test_the_rises_of_confidence_are_each_networks_own():
    """One seed grows surer where the other grows less sure: half of the answers rise, though the mean does not."""
    tables = [answered([0.7] * 8, seed=seed) for seed in (0, 1)]
    tables += [answered([sure] * 8, "all audio gone", seed=seed) for seed, sure in enumerate((0.9, 0.5))]
    table = results(calibration, pd.concat(tables), [Intact(), Gone("audio")]).set_index("measure")["value"]
    assert table["rises"] == 50 and table["by"] == pytest.approx(20)


def test_the_calibration_of_two_averaged_posteriors_is_known(clips):
    """All answers are right: so the error is what confidence lacks to 1."""
    table = asked(STUDIES["calibration"], clips, both=averages()).set_index(["measure", "condition"])["value"]
    known = {"AV": 0.7, "all audio gone": (0.8 + 1 / K) / 2, "all video gone": (0.6 + 1 / K) / 2}
    for condition, sure in known.items():
        assert table["confidence", condition] == pytest.approx(100 * sure, abs=1e-3)
        assert table["ece", condition] == pytest.approx(100 - 100 * sure, abs=1e-3)
        others = (1 - sure) ** 2 * (1 + 1 / (K - 1))
        assert table["brier", condition] == pytest.approx(others, abs=1e-4)
    assert table["rises", "all audio gone"] == 0


def drawn(sure, seed=0, clips=4000):
    """Predictions of a network that knows its chances: an answer with probability s is right in a share s of clips."""
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet([0.7] * K, clips)
    labels = (rng.random((clips, 1)) > chances.cumsum(axis=1)).sum(axis=1)
    given = chances**sure / (chances**sure).sum(axis=1, keepdims=True)
    table = pd.DataFrame(given, columns=[f"p{k}" for k in range(K)])
    names = {"clip": [f"c{k}" for k in range(clips)], "actor": np.arange(clips) % 8, "fold": 0, "condition": "AV"}
    return table.assign(**names, label=labels)


def test_temperature_finds_by_how_much_logits_were_sharpened_and_mends_them():
    calibrated, sharp = drawn(1.0), drawn(2.5)
    assert calibration.temperature(calibrated) == pytest.approx(1, abs=0.1)
    assert calibration.temperature(sharp) == pytest.approx(2.5, rel=0.08)
    mended = calibration.with_temperature(sharp, 2.5)
    np.testing.assert_allclose(mended[["p0", "p1", "p2"]], calibrated[["p0", "p1", "p2"]], atol=1e-4)
    assert error_of(mended)["value"] < 3 < 10 < error_of(sharp)["value"]


def error_of(predictions, measure="ece"):
    return select(results(calibration, predictions, [Intact()]), measure=measure).iloc[0]


@pytest.mark.parametrize("sharpened, kind", [(0.2, float), (10.0, float), (20.0, float), (10.0, np.float32)])
def test_temperature_is_held_by_no_smallest_probability(sharpened, kind):
    found = calibration.temperature(drawn(sharpened).astype({f"p{k}": kind for k in range(K)}))
    assert found == pytest.approx(sharpened, rel=0.1) and not calibration.at_bound(found)


def test_a_calibration_error_stands_beside_what_chance_makes_of_it_and_has_no_interval():
    """A network that knows its chances: its error is that of chance, at any number of clips."""
    for clips in (64, 1200):
        tables = [drawn(1.0, seed, clips) for seed in range(12)]
        errors = pd.DataFrame([error_of(table) for table in tables])
        chance = np.mean([error_of(table, "ece_chance")["value"] for table in tables])
        assert errors["value"].mean() == pytest.approx(chance, rel=0.25)
        assert errors[["low", "high"]].isna().all(axis=None)
    assert chance < 3


def test_offsets_are_in_order_around_none(clips):
    table = asked(STUDIES["offset"], clips, listens=listens())
    assert list(table["by"]) == sorted(table["by"]) and len(table) == 2 * offset.STEPS + 1
    assert np.isnan(offset.authors_lag(clips))


def test_in_a_conflict_a_network_that_listens_follows_the_voice_and_one_that_averages_the_clearer_face(clips):
    table = select(asked(STUDIES["conflict"], clips, listens=listens(), both=averages()), face="", voice="")
    found = table.set_index(["system", "measure"])["value"]
    assert found["listens", "voice"] == 100 and found["listens", "face"] == 0 and found["listens", "lead"] == -100
    assert found["both", "face"] == 100 and found["both", "neither"] == 0
    assert found["listens", "agree"] == found["both", "agree"] == 100
    with pytest.raises(InputError, match="needs all emotions of each actor: actor 0 has no voice that is z"):
        STUDIES["conflict"].conditions(clips.where(clips.table["label"] != 2))


@pytest.mark.parametrize("name", [name for name in STUDIES if name != "surface"])
def test_a_study_has_one_shape_of_table_and_tells_of_every_system(name, clips):
    few = loss.conditions(clips, levels=2) if name == "loss" else None
    table = asked(STUDIES[name], clips, few, listener=listens(), averager=averages())
    assert {"system", "condition", "measure", "value", "low", "high", "actors", "clips"} <= set(table)
    told = STUDIES[name].sentence(table)
    first, second = told.split("\n\n")
    assert "listener" in first and "averager" in second and first.endswith(".") and "nan" not in told
