"""Deletion, insertion and interventions, on a small network that has learnt where the answer is."""

import copy
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import sem, t
from torch import nn

from avlib import build_model
from workbook import InputError
from workbook.attention import faithfulness, perturbation
from workbook.attention.faithfulness import by_attention, by_gradients
from workbook.attention.perturbation import by_leaving_out, draw_clips, equal_segments, segment_clips
from workbook.data.features import read_npz, write_features
from workbook.train.batches import splits
from workbook.train.training import fit

CHANGES = ("attention even", "attention of another clip")
CUE = slice(8, 12)  # the video steps that show the label, the third of the five segments


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """The splits of 240 clips of features, of 10 people; four steps of the video alone tell which of 3 labels."""
    folder, rng = tmp_path_factory.mktemp("features"), np.random.default_rng(0)
    label = np.arange(240) % 3
    audio, video = rng.standard_normal((240, 5, 33)), rng.standard_normal((240, 7, 20))
    video[np.arange(240), label, CUE] += 4
    arrays = {"audio": audio.astype(np.float32), "video": video.astype(np.float32)}
    np.savez(folder / "own.npz", **arrays, label=np.array(["a", "b", "c"])[label], group=np.arange(240) // 24)
    store = write_features(folder / "store", read_npz(folder / "own.npz"), folder / "own.npz")
    return splits(store, 0, 3, ("audio", "video"), fold_scheme="groups")


def network(fusion, heads=1):
    torch.manual_seed(1)
    return build_model(fusion, heads=heads, classes=3, image_size=0, audio_channels=5, video_channels=7).eval()


@pytest.fixture(scope="module")
def net(split, tmp_path_factory):
    """An `ia` network that has learnt the label."""
    net = network("ia")
    given = {"dropout": "none", "epochs": 6, "batch_size": 16, "learning_rate": 0.02, "seed": 1}
    for row in fit(net, split["train"], split["validation"], tmp_path_factory.mktemp("run"), **given):
        last = row
    assert last["validation_accuracy"] > 90
    return net.eval()


@pytest.fixture(scope="module")
def material(net, split):
    return segment_clips(net, draw_clips(split["test"], 16), "mean", 5)


def known(material, reverse=False):
    """The importance that is true by construction, of video alone."""
    scores = np.tile([0.2, 0.1, 1.0, 0.3, 0.0], (len(material.clips), 1))
    return {"video": -scores if reverse else scores}


def between(material, **orders):
    table = faithfulness.areas(faithfulness.curves(material, orders, draws=2))
    return table[table.modality == "video"].pivot(index="clip", columns="order", values="between")


@pytest.mark.parametrize("steps, most, lengths", [(24, 20, [2] * 12), (6, 20, [1] * 6), (25, 20, [2] * 12 + [1])])
def test_segments_are_as_equal_as_whole_steps_allow(steps, most, lengths):
    assert sorted(np.bincount(equal_segments(steps, most)), reverse=True) == lengths


@pytest.fixture
def unequal(material):
    """The same clips in video segments of 3, 5, 4, 1 and 7 steps, of which the third decides."""
    video = np.repeat(np.arange(5), [3, 5, 4, 1, 7])
    return replace(material, segments=material.segments | {"video": video})


def test_gradients_of_segments_add_up_to_the_change_however_long_they_are(unequal):
    found = by_gradients(unequal, steps=64)
    with torch.inference_mode():
        nothing = unequal.net(unequal.baseline.audio, unequal.baseline.video).logits
    change = (unequal.forward(unequal.inputs)[0] - nothing).gather(1, unequal.target[:, None])[:, 0].numpy()
    total = sum(scores.sum(axis=1) for scores in found.values())
    assert np.abs(total - change).sum() < 0.02 * np.abs(change).sum()


def test_a_curve_begins_with_the_whole_clip_and_ends_with_the_baseline(material):
    table = faithfulness.curves(material, {"true": known(material)}, draws=2)
    video = material.baseline.video.expand_as(material.inputs["video"])
    whole, none = (
        material.forward(material.inputs | given)[0].softmax(dim=1).gather(1, material.target[:, None])[:, 0]
        for given in ({}, {"video": video})
    )
    for order in ("true", "random"):
        rows = table[(table.modality == "video") & (table.order == order)]
        for curve, share, expected in [("delete", 0, whole), ("delete", 1, none), ("insert", 0, none)]:
            found = rows[(rows.curve == curve) & (rows.share == share)]
            np.testing.assert_allclose(found.score, expected, atol=1e-6)
    assert sorted(table.share.unique()) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])


def test_the_true_order_beats_a_random_one_and_its_reverse_loses_as_much(material):
    found = between(material, true=known(material), reverse=known(material, reverse=True))
    assert found["true"].mean() > 0.3
    np.testing.assert_allclose(found["reverse"], -found["true"], atol=1e-6)
    np.testing.assert_allclose(found["random"], 0, atol=1e-12)


def test_gradients_and_leaving_out_find_the_segment_that_decides(material):
    for importance in (by_gradients(material, steps=8), by_leaving_out(material)):
        assert (importance["video"].argmax(axis=1) == 2).mean() > 0.9
        assert importance["audio"].shape == (len(material.clips), 5)


def test_attention_at_segments_is_the_mean_of_the_networks_vector(material):
    vector = material.forward(material.inputs)[1]["video"]
    vector = vector / vector.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(by_attention(material)["video"], vector.reshape(-1, 5, 4).mean(axis=2), rtol=1e-5)


@pytest.mark.parametrize("fusion", ["lt", "mult"])
def test_even_attention_is_even_at_all_segments_also_behind_a_mask(fusion, split):
    material = segment_clips(network(fusion), draw_clips(split["test"], 8), "zeros", 5)
    with perturbation.even_attention():
        even = by_attention(material)
    for name, importance in even.items():
        np.testing.assert_allclose(importance, 1, atol=1e-5, err_msg=name)
    assert all(np.ptp(importance) > 0.001 for importance in by_attention(material).values())


def test_even_scores_are_a_random_order():
    rank = perturbation.ranks(1 + 1e-9 * np.arange(5) * np.ones((2000, 1)), np.random.default_rng(0))
    assert (np.sort(rank, axis=1) == np.arange(5)).all()
    assert rank.mean(axis=0) == pytest.approx([2] * 5, abs=0.15)
    assert perturbation.ranks(np.array([[3.0, -1, 7]]), np.random.default_rng(0)).tolist() == [[1, 2, 0]]


def test_an_interval_counts_every_actor_once():
    values, actors = [0.0, 0, 0, 1, np.nan], ["a", "a", "a", "b", "b"]
    found = faithfulness.interval(values, actors)
    student = t.interval(0.95, 1, 0.5, sem([0, 1]))
    assert (found["mean"], found["low"], found["high"]) == pytest.approx((0.5, *student))
    alone = faithfulness.interval([1.0, 2], ["a", "a"])
    assert alone["mean"] == 1.5 and np.isnan(alone["low"]) and np.isnan(alone["high"])


def test_areas_of_curves_that_can_be_drawn_by_hand():
    table = pd.DataFrame({"share": [0, 0.5, 1], "delete": [1.0, 0.5, 0.0], "insert": [0.0, 1.0, 1.0]})
    table = table.melt("share", var_name="curve", value_name="score")
    table = table.assign(clip="a", actor=1, modality="audio", order="x")
    row = faithfulness.areas(table).iloc[0]
    assert (row["delete"], row["insert"], row["between"]) == (0.5, 0.75, 0.25)


def test_a_random_order_reaches_as_far_as_many_of_them_do(net, split):
    few = segment_clips(net, draw_clips(split["test"], 8), "mean", 5)
    few = replace(few, segments={"video": few.segments["video"]})  # one modality is enough
    reach = faithfulness.random_areas(few, draws=4).iloc[0]
    rng, found = np.random.default_rng(2), []
    for _ in range(16):
        order = {"video": rng.random((len(few.clips), 5))}
        per_clip = faithfulness.areas(faithfulness.curves(few, {"drawn": order}, draws=1))
        summary = faithfulness.area_summary(per_clip, pd.DataFrame([reach])).set_index("order")
        found.append(summary.loc["drawn", "between"])
    assert reach["high"] == -reach["low"] == pytest.approx(1.96 * np.sqrt(np.mean(np.square(found))), rel=0.4)
    assert summary.loc["random", ["between", "low", "high"]].tolist() == pytest.approx([0, reach.low, reach.high])


def test_trainings_with_the_same_settings_stand_in_one_row_for_each_system(tmp_path):
    """One training's interval says nothing of another one: 0.1 and 0.4 lie outside of each other's."""

    def saved(name, area, changed, draws=3):
        folder, orders = tmp_path / "toy" / name, {"order": ["attention", "leave one out"], "between": [area, 0.5]}
        folder.mkdir(parents=True)
        areas = pd.DataFrame(orders).assign(modality="video", low=[area - 0.02, np.nan], high=[area + 0.02, np.nan])
        changes = pd.DataFrame({"change": CHANGES, "changed": changed, "right_before": 1.0, "right": 0.5})
        tables = faithfulness.as_records({"areas": areas, "changed": changes, "cue": areas[:0]})
        record = {"settings": {"draws": draws}, "dataset": "toy", "fusion": "ia"} | tables
        (folder / "faithfulness.json").write_text(json.dumps(record))
        return folder

    names = ["ia/fold0-seed1", "ia/fold0-seed2"]
    folders = [saved(names[0], 0.1, 0.5), saved(names[1], 0.4, 0.6), saved("it/fold0-seed1", 0.3, 0.3, draws=9)]
    records = faithfulness.records_of_runs([*folders, tmp_path / "toy" / "none/fold0"], {"draws": 3})
    assert list(records) == names and faithfulness.areas_of_runs(records)["run"].unique().tolist() == names
    assert "cue" not in records[names[0]] and records[names[0]]["areas"][1]["low"] is None
    (row,) = faithfulness.table_of_runs(records).to_dict("records")
    assert (row["system"], row["trainings"]) == ("ia", 2) and row["changed by even"] == "55 %"
    assert row["video: attention"] == "0.25 (0.10 to 0.40)" and row["video: best other"] == "0.50 (leave one out)"


def test_equal_orders_agree_reversed_ones_do_not_and_even_ones_do_not_count(material):
    true, even = known(material), {"video": np.ones((len(material.clips), 5))}
    orders = {"true": true, "same": {"video": 2 * true["video"]}, "reverse": known(material, True), "even": even}
    table = faithfulness.agreement(material, orders).set_index(["first", "second"])
    assert table.loc[("true", "same"), ["mean", "low", "high"]].tolist() == pytest.approx([1] * 3)
    assert table.loc[("true", "reverse"), "mean"] == pytest.approx(-1)
    assert table.loc[("true", "even"), "clips"] == 0 and np.isnan(table.loc[("true", "even"), "mean"])


def lifts(material, start, end, **scores):
    """The lift of each order of video segments over a cue of all clips; scores : by order (N, S)."""
    cue = {"face_start": start, "face_end": end, "face_shows": True}
    orders = {order: {"video": values} for order, values in scores.items()}
    table = faithfulness.cue_shares(material, orders, pd.DataFrame(cue, index=material.clips.table["clip"]))
    return table.set_index("order")["lift"].to_dict()


def test_the_true_segment_lies_in_the_cue_and_even_scores_have_lift_1_in_segments_of_any_length(material, unequal):
    only = known(material)["video"] - 0.35  # one segment above 0
    assert lifts(material, 0.4, 0.6, true=only, even=-np.ones_like(only)) == pytest.approx({"true": 5, "even": 1})
    one = np.ones((len(unequal.clips), 20))
    even = {"attention": unequal.means("video", one), "leave one out": unequal.sums("video", one)}
    assert lifts(unequal, 0.3, 0.7, **even) == pytest.approx({"attention": 1, "leave one out": 1})


def test_a_fusion_without_attention_and_no_clips_are_refused(net, split):
    with pytest.raises(InputError, match="AudioOnly has no attention: choose fusion lt"):
        segment_clips(network("audio"), split["test"])
    with pytest.raises(InputError, match="no clip has both modalities"):
        segment_clips(net, split["test"].where(np.zeros(len(split["test"]), bool)))


def test_a_modality_of_one_step_has_no_order(material):
    one = {"audio": np.zeros(33, int), "video": material.segments["video"]}
    assert replace(material, segments=one).ordered == ["video"]
    with pytest.raises(InputError, match="there is nothing to order"):
        faithfulness.curves(replace(material, segments={name: 0 * parts for name, parts in one.items()}), {})


def without_queries(net):
    """A copy whose queries are all zero, so that its attention is even."""
    silent = copy.deepcopy(net)
    for module in silent.modules():
        if isinstance(module, nn.MultiheadAttention):
            module.in_proj_weight.data[: module.embed_dim] = 0
            module.in_proj_bias.data[: module.embed_dim] = 0
        elif hasattr(module, "query"):
            module.query.weight.data.zero_()
    return silent


@pytest.mark.parametrize("fusion, heads", [("ia", 4), ("it", 1), ("lt", 4), ("tav", 1), ("mlt", 1), ("mult", 1)])
def test_even_attention_is_that_of_a_network_without_queries(fusion, heads, split):
    net, (audio, video, _) = network(fusion, heads), split["test"][torch.arange(4)]
    with torch.inference_mode():
        expected, plain = without_queries(net)(audio, video), net(audio, video)
        with perturbation.even_attention() as block:
            found = net(audio, video)
    assert block.count and not torch.allclose(found.logits, plain.logits)
    torch.testing.assert_close(found.logits, expected.logits)
    for name, weights in expected.attention.items():
        torch.testing.assert_close(found.attention[name], weights)


@pytest.mark.parametrize("fusion", ["ia", "lt", "mult"])
def test_swapped_attention_is_the_partners(fusion, split):
    net, (audio, video, _) = network(fusion), split["test"][torch.arange(5)]
    partner = torch.tensor([3, 0, 4, 1, 2])
    with torch.inference_mode():
        plain = net(audio, video)
        with perturbation.swapped_attention(torch.arange(5)):
            same = net(audio, video)
        with perturbation.swapped_attention(partner):
            swapped = net(audio, video)
    torch.testing.assert_close(same.logits, plain.logits)
    assert not torch.allclose(swapped.logits, plain.logits)
    if fusion != "mult":  # there, later layers attend with what earlier ones returned
        for name, weights in plain.attention.items():
            torch.testing.assert_close(swapped.attention[name], weights[partner])


def test_no_clip_is_its_own_partner():
    for number in range(2, 9):
        partner = perturbation.partners(number, torch.Generator().manual_seed(number))
        assert sorted(partner) == list(range(number)) and (partner != torch.arange(number)).all()


def test_answers_change_where_what_they_rest_on_is_deleted(material):
    table = faithfulness.change_summary(perturbation.attention_changed(material, draws=2)).set_index("change")
    assert table.loc["video deleted", "changed"] > 0.5 and table.loc["audio deleted", "changed"] < 0.2
    assert (table["right_before"] > 0.9).all() and table.loc["video deleted", "right"] < 0.6


LAYERS = {"ia": ["stage 2", "fusion", "stage 1"], "lt": ["fusion", "stage 2", "stage 1"], "mult": ["fusion", "stage 1"]}


@pytest.mark.parametrize("fusion", LAYERS)
def test_layers_go_from_the_classifier_to_the_inputs_and_leave_no_weight_out(fusion):
    net = network(fusion)
    found = perturbation.layers(net)
    assert list(found) == ["classifier", *LAYERS[fusion]]
    ids = [id(weight) for weights in found.values() for weight in weights]
    assert len(ids) == len(set(ids)) and set(ids) == {id(weight) for weight in net.parameters()}


def test_shuffling_keeps_the_values_of_every_tensor():
    net = network("ia")
    before = [weight.detach().clone() for weight in net.parameters()]
    perturbation.shuffle(list(net.parameters()), torch.Generator().manual_seed(0))
    for old, new in zip(before, net.parameters(), strict=True):
        torch.testing.assert_close(old.flatten().sort().values, new.detach().flatten().sort().values, rtol=0, atol=0)
    assert not torch.equal(before[0], next(net.parameters()))


def test_attention_of_ia_does_not_know_the_layers_above_it(material, net):
    weights = copy.deepcopy(net.state_dict())
    table = faithfulness.cascade(material, draws=1, steps=4).set_index(["method", "modality", "layer"])["mean"]
    attention = table["attention", "video"]
    assert attention[["none", "classifier", "stage 2"]].tolist() == pytest.approx([1, 1, 1])
    assert attention["stage 1"] < 0.7
    assert table["integrated gradients", "video", "none"] == pytest.approx(1)
    assert table["integrated gradients", "video", "classifier"] < 0.9
    assert all(torch.equal(weights[name], weight) for name, weight in net.state_dict().items())
