"""Wrong answers to exercises of lessons 4 to 6: each is told what is wrong. The right ones are in test_lessons.py."""

import ast

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from avlib.fusion import STAGE1, Fusion
from workbook import ROOT
from workbook.lessons import check, has_digest
from workbook.toy.corpus import FACE_GROUPS

SHARE, SPLIT, HONEST = "def share_of_look(faces, answers):", "def split(actors):", "def honest(history):"
MINE = "class Mine(Fusion):\n def after_stage1(self, audio, video):\n  "


@pytest.mark.parametrize(
    ("lesson", "cell", "answer", "sentence"),
    [
        ("4_half_gone", "check-look", f"{SHARE} return 0.6", "in percent"),
        ("4_half_gone", "check-look", f"{SHARE} return 100 * np.mean(np.array(faces) == answers)", "compare looks"),
        ("4_half_gone", "check-look", f"{SHARE} return 80.0", "counted"),
        ("5_how_to_fool_yourself", "check-split", f"{SPLIT} return ['train'] * len(actors)", "each occurs"),
        ("5_how_to_fool_yourself", "check-split", f"{SPLIT} return ['train', 'test'] * (len(actors) // 2)", "in both"),
        ("5_how_to_fool_yourself", "check-split", f"{SPLIT} return np.where(actors > 1, 'test', 'train')", "10 to 30"),
        ("5_how_to_fool_yourself", "check-honest", f"{HONEST} return history.test_accuracy.max()", "test has chosen"),
        ("5_how_to_fool_yourself", "check-honest", f"{HONEST} return history.test_accuracy.iloc[-1]", "last epoch"),
        ("5_how_to_fool_yourself", "check-honest", f"{HONEST} return history.validation_accuracy.max()", "as well"),
        ("5_how_to_fool_yourself", "check-honest", f"{HONEST} return history.test_accuracy[0]", "another epoch"),
        ("6_your_own_fusion", "check-mine", f"{MINE}return audio, video", "three things"),
        ("6_your_own_fusion", "check-mine", f"{MINE}return audio, video, {{'video': video[:, 0]}}", "Nothing crosses"),
        ("6_your_own_fusion", "check-mine", f"{MINE}return audio, video.mT, {{'video': video[:, 0]}}", "shapes"),
        (
            "6_your_own_fusion",
            "check-mine",
            f"{MINE}return audio, video * audio[:, :64], {{'video': video[:, 0]}}",
            "same number",
        ),
        (
            "6_your_own_fusion",
            "check-mine",
            f"{MINE}return audio, video * audio.mean(dim=(1, 2))[:, None, None], {{'video': video[:, 0]}}",
            "picks nobody",
        ),
    ],
)
def test_a_wrong_answer_is_told_what_is_wrong(lesson, cell, answer, sentence):
    names = {"np": np, "pd": pd, "torch": torch, "nn": nn, "Fusion": Fusion, "STAGE1": STAGE1, "LOOKS": FACE_GROUPS}
    names |= {"check": check, "has_digest": has_digest}
    cells = nbformat.read(ROOT / "notebooks" / "lessons" / f"{lesson}.ipynb", as_version=4).cells
    exec(answer, names)
    *statements, last = ast.parse(next(each.source for each in cells if each.id == cell)).body
    exec(compile(ast.Module(statements, []), cell, "exec"), names)
    text = eval(compile(ast.Expression(last.value), cell, "eval"), names).data
    assert text.startswith("**Not right yet.**") and sentence in text
