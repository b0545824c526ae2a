"""The lessons as a class meets them: guesses, checks, solutions, words, and every notebook at its real settings."""

import ast
import re
import shutil
from pathlib import Path
from unittest import mock

import nbformat
import numpy as np
import pandas as pd
import papermill as pm
import pytest
import torch
from browser import CHROMIUM
from in_process import without_kernels
from IPython.display import Markdown
from test_browser import lab, run_all, wait
from torch import nn

from avlib.fusion import FUSIONS, STAGE1, Fusion
from workbook import DATA, ROOT
from workbook.lessons import Guess, Sliders, check, digest, has_digest
from workbook.toy.corpus import FACE_GROUPS

FOLDER = ROOT / "notebooks" / "lessons"
LESSONS = sorted(FOLDER.glob("*.ipynb"))
DEMO = ROOT / "outputs" / "toy_speaker" / "ia1-frozen-none" / "fold0-seed1" / "model.safetensors"


def named(paths: list[Path]):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def is_exercise(cell) -> bool:
    return "exercise" in cell.metadata.get("tags", [])


def solutions(path: Path) -> dict[str, str]:
    """The solutions of a lesson, by the name of the exercise's cell."""
    text = (FOLDER / "solutions" / f"{path.stem}.py").read_text(encoding="utf-8")
    parts = re.split(r"^# %% (\S+)\n", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def verdict(text: str) -> str:
    """The first words of what a check says."""
    return re.match(r"\*\*(.+?)\.\*\*", text)[1]


def execute(path: Path, place: Path, solved: dict[str, str], **parameters) -> list[str]:
    """The verdicts of a lesson's checks; solved : as `solutions`."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if is_exercise(cell):
            cell.source = solved.get(cell.id, cell.source)
    nbformat.write(notebook, place / path.name)
    own = {name: value for name, value in parameters.items() if name in pm.inspect_notebook(path)}
    done = pm.execute_notebook(place / path.name, place / "done.ipynb", own, progress_bar=False, cwd=ROOT)
    outputs = [output for cell in done.cells if "check(" in cell.source for output in cell.get("outputs", [])]
    return [verdict(output.data["text/markdown"]) for output in outputs if "text/markdown" in output.get("data", {})]


def test_a_guess_is_counted_and_then_the_answer_is_shown():
    guess = Guess("Which is lowest?", ["AV", "A", "V"], "V", "because *so*", pd.DataFrame({"a": [1]}))
    assert guess.reveal.disabled and not guess.result.value
    for option in ("A", "V", "V"):
        guess.guess(option)
    assert guess.buttons[2].description == "V (2)" and not guess.result.value
    guess.show()
    assert "<em>so</em>" in guess.result.value and "<table" in guess.result.value and "2 of 3" in guess.message.value
    other = Guess("And highest?", ["AV", "A"], "AV")
    other.guess("A")
    other.show()
    assert "0 of 1" in other.message.value and "2 of 4" in other.message.value
    with pytest.raises(ValueError, match="'M' is none of AV, A"):
        Guess("Which?", ["AV", "A"], "M")


def test_sliders_draw_again_and_leave_html():
    drawn = Sliders(lambda a, b: f"{a} and **{b}**", a=(2.5, [1.0, 2.0, 3.0]), b=("x", ["x", "y"]))
    assert "2.5 and <strong>x</strong>" in drawn.static() and "a 2.5, b x" in drawn.static()
    drawn.controls["b"].value = "y"
    assert "2.5 and <strong>y</strong>" in drawn.figure.value


def test_a_check_says_what_is_wrong_and_not_what_is_right():
    tests = {"There are two numbers.": lambda row: len(row) == 2, "They are others.": has_digest(digest([0.25, 1 / 3]))}
    texts = [check(answer, tests).data for answer in (..., 3, [1], [1, 2], [0.25, 0.333])]
    assert list(map(verdict, texts)) == ["Not solved yet", *["Not right yet"] * 3, "Right"]
    assert "two numbers" in texts[1] and "two numbers" in texts[2] and "others" in texts[3]
    assert "Not solved" in check(lambda x: ..., tests, 1).data
    assert "ZeroDivisionError" in check(lambda x: x / 0, tests, 1).data
    assert check(lambda x: [x, 1 / 3], tests, 0.25).data == "**Right.**"
    assert isinstance(check(1, {}), Markdown) and digest(" Happy") == digest("happy") != digest("sad")


@named(LESSONS)
def test_a_lesson_is_committed_without_outputs_in_the_house_style(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith('{\n "cells"') and text.endswith("}\n")
    code = cells(path, "code")
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert code[0].metadata["tags"] == ["parameters"]
    kinds = "".join(cell.cell_type[0] for cell in nbformat.read(path, as_version=4).cells)
    assert kinds.startswith("mm") and "cccc" not in kinds
    assert max(len(cell.source.splitlines()) for cell in code) <= 20
    for cell in code:
        if re.search(r"\b(Guess|check)\(", cell.source):  # answers are folded
            assert cell.metadata["jupyter"]["source_hidden"] and "hide-input" in cell.metadata["tags"], cell.id


@named(LESSONS)
def test_a_lesson_has_two_exercises_a_guess_and_solutions_apart(path):
    code = cells(path, "code")
    exercises = [cell.id for cell in code if is_exercise(cell)]
    assert len(exercises) >= 2 and list(solutions(path)) == exercises
    assert any("Guess(" in cell.source for cell in code)
    for cell in code:
        if is_exercise(cell):
            assert "..." in cell.source and "..." not in solutions(path)[cell.id]


OF_DEMO = [path for path in LESSONS if "outputs/" in cells(path, "code")[0].source]  # they read a trained run
RUNNABLE = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path in OF_DEMO))
    for path in LESSONS
    if path not in OF_DEMO or DEMO.exists()
]


@pytest.mark.parametrize("path", RUNNABLE)
def test_a_lesson_runs_unsolved_and_solved(path, tmp_path):
    exercises = sum(map(is_exercise, cells(path, "code")))
    with without_kernels(), mock.patch.dict(FUSIONS):
        assert execute(path, tmp_path, {}, epochs=1) == ["Not solved yet"] * exercises
        assert execute(path, tmp_path, solutions(path), epochs=1) == ["Right"] * exercises


@pytest.mark.slow
@pytest.mark.parametrize("path", RUNNABLE)
def test_a_lesson_at_its_real_settings_takes_a_processor_at_most_two_minutes(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell("import time\n\ntime.process_time()"))
    nbformat.write(notebook, tmp_path / path.name)
    done = pm.execute_notebook(tmp_path / path.name, tmp_path / "done.ipynb", progress_bar=False, cwd=ROOT)
    assert float(done.cells[-1].outputs[0].data["text/plain"]) < 120


@named([path for path in [*LESSONS, FOLDER / "README.md"] if path.exists()])
def test_a_term_is_explained_and_linked_once(path):
    headings = re.findall(r"^#+ (.+)$", (FOLDER / "terms.md").read_text(encoding="utf-8"), flags=re.M)
    anchors = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
    linked = re.findall(r"\(terms\.md#([^)]+)\)", path.read_text(encoding="utf-8"))
    assert set(linked) <= anchors and len(set(linked)) == len(linked)


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine")
def test_a_class_guesses_and_solves_an_exercise_in_the_browser(page, tmp_path):
    folder = tmp_path / "lessons"
    folder.mkdir()
    shutil.copy(LESSONS[0], folder)
    with lab(folder, tmp_path / "jupyter", AVLIB_DATA=str(DATA)) as address:
        page.goto(f"{address}/lab/tree/{LESSONS[0].name}?token=toy")
        wait(page, 120, "the lesson is open", lambda state: state["prompts"])
        run_all(page)
        guess = page.locator(".avlib-lesson", has_text="Which frame receives the most attention")
        guess.wait_for(timeout=60_000)
        cell = page.locator(".jp-Cell", has=guess)
        assert not cell.locator("details").is_visible() and not guess.locator("img").count()
        assert guess.get_by_role("button", name="Show the answer").is_disabled()
        for option in ("frame 1", "frame 3", "frame 3 (1)"):
            guess.get_by_role("button", name=option, exact=True).click()
        guess.get_by_role("button", name="frame 3 (2)", exact=True).wait_for()
        guess.get_by_role("button", name="Show the answer").click()
        guess.get_by_text("2 of 3").wait_for()
        assert "frame 3 1.00" in guess.locator("img").get_attribute("alt")
        for row, verdict in [("[0.5, 0.2, 0.2, 0.1]", "same."), ("[3/16, 3/16, 9/16, 1/16]", "Right.")]:
            page.locator(".jp-Cell.jp-CodeCell", has_text="fourth_row = ").first.locator(".cm-content").click()
            page.keyboard.press("Control+a")
            page.keyboard.insert_text(f"fourth_row = {row}")
            page.keyboard.press("Shift+Enter")
            page.keyboard.press("Shift+Enter")
            page.locator(".jp-RenderedMarkdown:visible", has_text=verdict).first.wait_for(timeout=30_000)


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
