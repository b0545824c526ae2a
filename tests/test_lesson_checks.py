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

LOOK = ("4_half_gone", "check-look", "def share_of_look(faces, answers): return ")
SPLIT = ("5_how_to_fool_yourself", "check-split", "def split(actors): return ")
HONEST = ("5_how_to_fool_yourself", "check-honest", "def honest(history): return history.")
MINE = ("6_your_own_fusion", "check-mine", "class Mine(Fusion):\n def after_stage1(self, audio, video): return audio, ")
ANSWERS = [
    (LOOK, "0.6", "in percent"),
    (LOOK, "100 * np.mean(np.array(faces) == answers)", "compare looks"),
    (LOOK, "80.0", "counted"),
    (SPLIT, "['train'] * len(actors)", "each occurs"),
    (SPLIT, "['train', 'test'] * (len(actors) // 2)", "in both"),
    (SPLIT, "np.where(actors > 1, 'test', 'train')", "10 to 30"),
    (HONEST, "test_accuracy.max()", "test has chosen"),
    (HONEST, "test_accuracy.iloc[-1]", "last epoch"),
    (HONEST, "validation_accuracy.max()", "as well"),
    (HONEST, "test_accuracy[0]", "another epoch"),
    (MINE, "video", "three things"),
    (MINE, "video, {'video': video[:, 0]}", "Nothing crosses"),
    (MINE, "video.mT, {'video': video[:, 0]}", "shapes"),
    (MINE, "video * audio[:, :64], {'video': video[:, 0]}", "same number"),
    (MINE, "video * audio.mean(dim=(1, 2))[:, None, None], {'video': video[:, 0]}", "picks nobody"),
]


@pytest.mark.parametrize("exercise, answer, sentence", ANSWERS)
def test_a_wrong_answer_is_told_what_is_wrong(exercise, answer, sentence):
    lesson, cell, beginning = exercise
    names = {"np": np, "pd": pd, "torch": torch, "nn": nn, "Fusion": Fusion, "STAGE1": STAGE1, "LOOKS": FACE_GROUPS}
    names |= {"check": check, "has_digest": has_digest}
    cells = nbformat.read(ROOT / "notebooks" / "lessons" / f"{lesson}.ipynb", as_version=4).cells
    exec(beginning + answer, names)
    *statements, last = ast.parse(next(each.source for each in cells if each.id == cell)).body
    exec(compile(ast.Module(statements, []), cell, "exec"), names)
    text = eval(compile(ast.Expression(last.value), cell, "eval"), names).data
    assert text.startswith("**Not right yet.**") and sentence in text
