"""What a class does after `make demo`, in Chromium: notebooks opened from the index in order, Run All, a figure soon.

It takes minutes, and train.ipynb writes a run into outputs/, as in class: `pytest -m slow tests/test_class_path.py`.
Screenshots of each notebook are kept in $AVLIB_SCREENSHOTS, or beside pytest's other files.
"""

import json
import os
import re
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import nbconvert
import nbformat
import pytest
from browser import CHROMIUM, served
from test_browser import lab, run_all, wait

from workbook import ROOT
from workbook.run.app import write_page_of

DEMO = ROOT / "outputs" / "toy_speaker" / "ia1-frozen-none" / "fold0-seed1"
INDEX = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
PATH = list(dict.fromkeys(re.findall(r"\((\w+)\.ipynb\)", INDEX)))  # in its order
OF_DEMO = sorted((ROOT / "outputs").glob("*/*/*/*.ipynb"))
SCREENS = 2  # before the first figure
SCREEN = 720  # pixels

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine"),
    pytest.mark.skipif(not (DEMO / "model.safetensors").exists(), reason="`make demo` has not been run here"),
]

RULES = {"runOnly": ["color-contrast", "image-alt", "label", "select-name", "button-name", "aria-input-field-name"]}
SEEN = "selector => [...document.querySelectorAll(selector)].filter(node => node.offsetParent)"
LOOK = """() => {
    const seen = SEEN;
    const [first] = seen('.jp-OutputArea-output img, .avlib-figure');
    const place = node => node.getBoundingClientRect().top;
    return {
        first: first ? place(first) - place(first.closest('.jp-Notebook').querySelector('.jp-Cell')) : null,
        cut: seen('.jp-OutputArea-output table').filter(
            node => node.scrollWidth > node.closest('.jp-OutputArea-output').clientWidth + 1).length,
        unnamed: seen('.jp-OutputArea-output img').filter(node => !node.alt).length,
        stderr: seen('[data-mime-type="application/vnd.jupyter.stderr"]').map(node => node.innerText),
    };
}""".replace("SEEN", SEEN)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A copy of the notebooks, so that those of the repository keep no outputs."""
    return Path(shutil.copytree(ROOT / "notebooks", tmp_path_factory.mktemp("class") / "notebooks"))


@pytest.fixture(scope="module")
def address(folder, tmp_path_factory):
    with lab(folder, tmp_path_factory.mktemp("jupyter"), AVLIB_DATA=str(ROOT / "data")) as address:
        yield address


@pytest.fixture(scope="module")
def shots(tmp_path_factory) -> Path:
    path = Path(os.environ.get("AVLIB_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="module")
def axe(tmp_path_factory) -> str:
    """The script of axe-core, through npm; "" where there is none."""
    place = tmp_path_factory.mktemp("axe")
    try:
        subprocess.run(["npm", "pack", "axe-core@4"], cwd=place, check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.SubprocessError):
        return ""
    with tarfile.open(next(place.glob("*.tgz"))) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


@pytest.mark.parametrize("name", PATH)
def test_a_notebook_of_the_index_runs_without_an_error_and_shows_a_figure_soon(name, address, page, shots, axe, folder):
    page.goto(f"{address}/lab/tree/README.md?token=toy")
    page.get_by_role("link", name=name, exact=True).first.click()
    wait(page, 60, "the notebook is open", lambda state: state["prompts"])
    start = time.monotonic()
    run_all(page, seconds=3000)
    seconds = time.monotonic() - start
    page.wait_for_timeout(2000)
    look = page.evaluate(LOOK)
    page.evaluate(f"({SEEN})('.jp-OutputArea-output img, .avlib-figure')[0]?.scrollIntoView({{block: 'center'}})")
    page.wait_for_timeout(500)
    page.screenshot(path=shots / f"{name}.png")
    page.keyboard.press("Control+s")
    page.wait_for_timeout(1000)
    about = {"seconds": round(seconds), "screens before a figure": round((look["first"] or 0) / SCREEN, 2)}
    (shots / f"{name}.json").write_text(json.dumps(about | {"load": os.getloadavg()[0]}))
    assert not [text for text in look["stderr"] if not re.search(r"\d+%\|", text)], "a warning"
    assert look["cut"] == 0, "tables cut at the right"
    assert look["unnamed"] == 0, "pictures without an alternative text"
    assert look["first"] is not None and look["first"] < SCREENS * SCREEN, look["first"] / SCREEN
    assert not serious(page, axe, ".jp-OutputArea-output", shots / f"{name}-axe.json")


def test_the_page_of_make_app_has_no_serious_finding(page, shots, axe, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra `page` is not installed")
    write_page_of([DEMO], 12, tmp_path / "page")
    with served(tmp_path / "page") as address:
        page.goto(address)
        page.wait_for_selector(".avlib-figure .bar", timeout=300_000)
        page.screenshot(path=shots / "app.png")
        assert not serious(page, axe, "body", shots / "app-axe.json")


def serious(page, axe: str, part: str, log: Path) -> list[tuple[str, str]]:
    """The serious and critical findings of axe-core in a part of the page: rule and element; none without axe-core."""
    if not axe:
        return []
    page.evaluate(axe)
    report = page.evaluate("([part, rules]) => axe.run({include: [[part]]}, rules)", [part, RULES])
    grave = [violation for violation in report["violations"] if violation["impact"] in ("serious", "critical")]
    log.write_text(json.dumps(grave, indent=1))
    return [(violation["id"], node["html"][:200]) for violation in grave for node in violation["nodes"]]


def check_offline(page, book: Path, place: Path) -> None:
    """Every picture and sound of an executed notebook is in its HTML, without a network, and pictures have names."""
    notebook = nbformat.read(book, as_version=4)
    (place / "page.html").write_text(nbconvert.HTMLExporter(template_name="lab").from_notebook_node(notebook)[0])
    page.context.set_offline(True)
    page.goto((place / "page.html").as_uri(), wait_until="domcontentloaded")
    pictures = page.evaluate(
        "() => [...document.querySelectorAll('.jp-OutputArea-output img')].map(node => [node.naturalWidth, node.alt])"
    )
    assert pictures and all(width > 0 and alt for width, alt in pictures)
    sounds = page.evaluate("() => [...document.querySelectorAll('audio')].map(node => node.currentSrc || node.src)")
    sounds += page.evaluate("() => [...document.querySelectorAll('audio source')].map(node => node.src)")
    assert all(source.startswith("data:") for source in sounds if source)


@pytest.mark.parametrize("book", OF_DEMO, ids=lambda book: f"{book.parts[-4]}-{book.parts[-3]}-{book.stem}")
def test_a_notebook_that_the_demo_has_executed_is_whole_without_a_network(book, page, tmp_path):
    check_offline(page, book, tmp_path)


@pytest.mark.parametrize("name", PATH)
def test_a_notebook_that_a_class_has_executed_is_whole_without_a_network(name, page, folder, tmp_path):
    if not any(cell.get("outputs") for cell in nbformat.read(folder / f"{name}.ipynb", as_version=4).cells):
        pytest.skip("it was not executed above")
    check_offline(page, folder / f"{name}.ipynb", tmp_path)
