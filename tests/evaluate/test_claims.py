"""The paper's claims, on predictions whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from drawn_predictions import QUICK, predictions

from workbook.evaluate.claims import CLAIMS, check_claims, compare_pairs, in_words
from workbook.evaluate.statistics import differences


def paired(first, second, gain, seed=0):
    """Two systems on all 20 actors of five folds, the first right in `gain` of the clips that the second has wrong."""
    base = predictions((0.5, 0.5, 0.5), folds=range(5), seed=seed)
    wrong = (base["p1"] > 0.5) != (base["label"] == 1)
    turned = wrong & (np.random.default_rng(seed + 1).random(len(base)) < gain)
    better = base.assign(p0=base["p0"].where(~turned, base["p1"]), p1=base["p1"].where(~turned, base["p0"]))
    return {first: better, second: base}


def test_a_true_gain_holds_its_reverse_does_not_and_nothing_cannot_be_told_apart():
    claim = CLAIMS[1]  # softhard saves A and V
    for gain, (first, second), verdict in (
        (0.6, (("IA1", "softhard"), ("IA1", "none")), "holds"),
        (0.6, (("IA1", "none"), ("IA1", "softhard")), "does not hold"),
        (0.0, (("IA1", "softhard"), ("IA1", "none")), "cannot be told apart"),
    ):
        table = check_claims(paired(first, second, gain), (claim,), "ravdess", **QUICK)
        assert set(table["verdict"]) == {verdict} and table["condition"].tolist() == ["A", "V"]
        assert table["paper"].tolist() == pytest.approx([58.08 - 18.58, 72.83 - 22.83])
        title = f"**softhard saves A and V**: {verdict} in 2 of 2 (20 actors in 5 folds trained once)."
        assert in_words(table, claim).startswith(title)


def test_a_comparison_is_that_of_differences_with_holm_over_the_claim():
    systems = paired(("IA1", "softhard"), ("IA1", "none"), 0.1)
    table = check_claims(systems, CLAIMS[1:2], "ravdess", **QUICK)
    alone = differences({" ".join(name): rows for name, rows in systems.items()}, conditions=("A", "V"), **QUICK)
    same = ["difference", "low", "high", "p", "effect", "deviation", "actors"]
    pd.testing.assert_frame_equal(table[same], alone[same])
    assert table["p_holm"].min() == pytest.approx(min(1, 2 * alone["p"].min())) and set(table["pairs"]) == {2}
    assert (table["needed"] >= 2).all() and (table["smallest"] > 0).all()


def test_one_actor_has_no_interval_and_the_print_is_not_outside_of_it():
    systems = paired(("IA1", "softhard"), ("IA1", "none"), 0.6)
    alone = {name: rows[rows["actor"] == 5] for name, rows in systems.items()}
    lines = in_words(check_claims(alone, CLAIMS[1:2], "ravdess", **QUICK), CLAIMS[1]).splitlines()[2:]
    assert len(lines) == 2 and all("(no interval; printed +" in line and "outside" not in line for line in lines)


def test_heads_are_judged_by_the_sign_of_the_print_and_not_at_all_without_one():
    heads = CLAIMS[3]
    systems = paired(("IT4", "softhard"), ("IT1", "softhard"), 0.6)  # the print has IT4 above IT1 in AV, below it in M
    table = check_claims(systems, (heads,), "ravdess", **QUICK).set_index("condition")
    assert table["verdict"].to_dict() == {"AV": "holds", "M": "does not hold"}
    assert check_claims(systems, (heads,), "", **QUICK).empty
    assert in_words(check_claims(systems, (heads,), "", **QUICK), heads).endswith("nothing to compare with the print.")


def test_noise_is_compared_under_noise():
    """What `none` is worth with zeros in place of a modality says nothing of what training with noise gains."""
    names = ("AV", "A", "V", "A noise", "V noise")
    none = predictions((0.5, 0.1, 0.1, 0.6, 0.6), folds=range(5), conditions=names)
    noise = none.replace({"condition": {"A noise": "A", "V noise": "V", "A": "A zeros", "V": "V zeros"}})
    table = check_claims({("IA1", "noise"): noise, ("IA1", "none"): none}, CLAIMS, "ravdess", **QUICK)
    assert table["claim"].unique().tolist() == ["noise saves A and V, both tested with noise"]
    assert table["condition"].tolist() == ["A", "V"] and (table["difference"] == 0).all()
    assert table["paper"].isna().all() and set(table["verdict"]) == {"cannot be told apart"}


def test_every_pair_of_a_dropout_is_compared_and_none_across():
    systems = paired(("IA1", "none"), ("LT1", "none"), 0.5) | {("TAV1", "none"): predictions((0.5, 0.5, 0.5), range(5))}
    systems |= {("IA1", "softhard"): systems[("IA1", "none")], ("LT1", "softhard"): systems[("LT1", "none")]}
    table = compare_pairs(systems, "ravdess", **QUICK)
    of_av = table.query("condition == 'AV'")
    assert of_av.groupby("dropout").size().to_dict() == {"none": 3, "softhard": 1}
    assert set(of_av["first"]) | set(of_av["second"]) == {"IA1", "LT1", "TAV"}
    assert (of_av["pairs"] == of_av["dropout"].map({"none": 3, "softhard": 1})).all()
    assert compare_pairs({("IA1", "none"): systems[("IA1", "none")]}, **QUICK).empty
