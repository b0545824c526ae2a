"""The explorer in JupyterLab in a real browser: move, mask, play, save, restore."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import papermill
import pytest
from browser import CHROMIUM, drag
from smoke_runs import JUPYTER_FOLDERS

from workbook import DATA, ROOT

# What a test waits for, and what it shows when it waits in vain. A cell's prompt is null until it has been run.
STATE = """() => {
    const panel = window.jupyterapp?.shell.currentWidget;
    const session = panel?.sessionContext;
    const cells = [...(panel?.content?.model?.cells ?? [])].filter(cell => cell.type === 'code');
    const outputs = cells.flatMap(cell => cell.outputs.toJSON());
    const failed = outputs.filter(output => output.output_type === 'error');
    const stderr = outputs.filter(output => output.name === 'stderr').map(output => [output.text].flat().join(''));
    const texts = selector => [...document.querySelectorAll(selector)].map(node => node.innerText.slice(0, 500));
    return {
        kernel: session?.isReady ? session.session?.kernel?.status ?? 'none' : 'not ready',
        prompts: cells.map(cell => cell.executionCount),
        errors: [
            ...failed.map(output => `${output.ename}: ${output.evalue}`),
            ...stderr.filter(text => text.includes('Error')).map(text => text.slice(-500)),
        ],
        dialogs: texts('.jp-Dialog'),
        widgets: texts('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.widget-view+json"]'),
    };
}"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine"),
]


@pytest.fixture(scope="module")
def notebook(smoke, tmp_path_factory) -> Path:
    """A copy of the explorer's notebook for a trained run."""
    source, copy = ROOT / "notebooks" / "explorer.ipynb", tmp_path_factory.mktemp("lab") / "explorer.ipynb"
    papermill.execute_notebook(source, copy, parameters={"run": str(smoke)}, prepare_only=True, progress_bar=False)
    return copy


@pytest.fixture(scope="module")
def server(notebook, tmp_path_factory):
    with lab(notebook.parent, tmp_path_factory.mktemp("jupyter"), AVLIB_DATA=str(DATA)) as address:
        yield address


@contextmanager
def lab(folder: Path, home: Path, **environment: str) -> Iterator[str]:
    """The address of a JupyterLab on a folder, with settings of its own in `home`."""
    settings = home / "settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"windowingMode": "none"}))  # cells out of sight are in the page, too
    own = {name: str(home / folder) for name, folder in JUPYTER_FOLDERS.items()}
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ServerApp.port=0"]
    command += [
        f"--LabApp.app_settings_dir={ROOT}/notebooks/.lab",
        f"--ServerApp.root_dir={folder}",
        "--IdentityProvider.token=toy",
        "--expose-app-in-browser",
    ]
    log = folder / "server.log"
    process = subprocess.Popen(command, stderr=log.open("w"), env=os.environ | own | environment)
    try:
        yield _address(log, process)
    finally:
        process.terminate()
        process.wait(20)


def _address(log: Path, process: subprocess.Popen) -> str:
    for _ in range(120):
        address = re.search(r"http://(localhost|127\.0\.0\.1):(\d+)/", log.read_text())
        if address:
            return f"http://127.0.0.1:{address[2]}"
        assert process.poll() is None, log.read_text()[-2000:]
        time.sleep(0.5)
    raise AssertionError(f"the server did not say where it is: {log.read_text()[-2000:]}")


def wait(page, seconds: int, event: str, done) -> dict:
    """The state of the page as soon as `done(state)`; an AssertionError that shows it where that takes too long."""
    end = time.monotonic() + seconds
    while not done(state := page.evaluate(STATE)):
        assert time.monotonic() < end, f"{event}: not within {seconds} s\n{json.dumps(state, indent=2)}"
        page.wait_for_timeout(250)
    return state


def run_all(page, seconds: int = 300) -> None:
    """Run All Cells, from the menu, until the last cell is done.

    Asked for any sooner than the kernel is connected, JupyterLab starts a kernel for every cell, asks which one to
    take, or forgets the cells. Its indicator cannot tell: it shows `idle` as long as there is no kernel at all.
    """
    wait(page, 120, "a kernel is connected and idle", lambda state: state["kernel"] == "idle")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    ended = wait(
        page,
        seconds,
        "every cell has run, or one failed",
        lambda state: state["kernel"] == "idle" and (state["errors"] or None not in state["prompts"]),
    )
    assert not ended["errors"], json.dumps(ended, indent=2)


# Counts the pictures that the browser shows, and those without bars, faces or spectrogram.
WATCH = """() => {
    window.watched = {pictures: 0, empty: 0};
    const look = () => {
        const canvas = document.querySelector('.avlib-figure .time canvas');
        const column = canvas.getContext('2d').getImageData(Math.round(canvas.width / 2), 0, 1, canvas.height).data;
        const painted = column.filter((value, place) => place % 4 === 3 && value > 0).length;
        window.watched.pictures += 1;
        window.watched.empty += painted < 60 || !document.querySelector('.avlib-figure .bar');
        requestAnimationFrame(look);
    };
    look();
}"""
FIGURE = """() => {
    const canvas = document.querySelector('.avlib-figure .time canvas');
    return {
        bars: [...document.querySelectorAll('.avlib-figure .bar')].map(bar => bar.getAttribute('width')),
        marks: document.querySelector('.avlib-figure .time .marks').innerHTML,
        picture: canvas.toDataURL(),
        cursor: Number(document.querySelector('.avlib-figure').dataset.cursor),
    };
}"""


def until(page, event: str, done, seconds: int = 60) -> dict:
    """The figure as soon as `done(figure)`."""
    end = time.monotonic() + seconds
    while not done(figure := page.evaluate(FIGURE)):
        assert time.monotonic() < end, f"{event}: not within {seconds} s"
        page.wait_for_timeout(50)
    return figure


def settled(page, line) -> tuple[str, dict]:
    """The line of the view and the figure, once nothing has changed for a second."""
    while True:
        state = line.input_value(), page.evaluate(FIGURE)
        page.wait_for_timeout(1000)
        if state == (line.input_value(), page.evaluate(FIGURE)):
            return state


def explore(page) -> None:
    """A reader moves a slider, masks, plays, and restores a view; the figure follows and is never empty."""
    page.wait_for_selector(".avlib-figure[data-drawn]", timeout=120_000)
    page.evaluate("document.querySelector('.avlib-explorer').scrollIntoView({block: 'start'})")
    page.wait_for_timeout(500)
    page.evaluate(WATCH)
    before, line = page.evaluate(FIGURE), page.locator(".avlib-explorer .widget-text input").last
    plain = line.input_value()

    drag(page, page.locator(".widget-hslider", has_text="video ×").locator(".noUi-target").bounding_box(), 1, 0.3, 0.5)
    darker = until(page, "a slider changes bars, attention and faces", lambda now: "video_gain" in line.input_value())
    assert all(darker[part] != before[part] for part in ("bars", "marks", "picture"))

    drag(page, page.locator(".avlib-figure .time").bounding_box(), 0.3, 0.6, 0.8)
    masked = until(page, "dragging masks the sound", lambda now: "audio_masked" in line.input_value())
    assert "masked" in masked["marks"]
    settled(page, line)

    page.locator(".avlib-figure .play").click()
    first = until(page, "the cursor moves as it plays", lambda now: now["cursor"] > 0.1)["cursor"]
    until(page, "and goes on", lambda now: now["cursor"] > first + 0.3)
    page.locator(".avlib-figure .play").click()

    saved, masked = settled(page, line)
    page.get_by_role("button", name="reset").click()
    until(page, "all changes are undone", lambda now: line.input_value() == plain and now["bars"] == before["bars"])
    line.fill(saved)
    line.press("Enter")
    again = until(page, "the saved view is back", lambda now: now["bars"] == masked["bars"])
    assert again["marks"] == masked["marks"] and again["picture"] == masked["picture"]

    with page.expect_download(timeout=60_000) as download:
        page.get_by_role("button", name="save PNG").click()
    assert Path(download.value.path()).read_bytes()[:4] == b"\x89PNG"
    watched = page.evaluate("window.watched")
    assert watched["pictures"] > 20 and watched["empty"] == 0, watched


def lies_within(page, height: int) -> bool:
    """Whether the explorer is no higher than this, and no wider than the page."""
    box = page.locator(".avlib-explorer").first.bounding_box()
    return box["height"] <= height and box["x"] + box["width"] <= 1280


def test_the_explorer_answers_in_jupyterlab_and_fits_a_projector(server, page, notebook):
    page.goto(f"{server}/lab/tree/explorer.ipynb?token=toy")
    run_all(page)
    explore(page)
    assert lies_within(page, 600)  # what JupyterLab leaves of 720
    assert not page.wrong
    page.screenshot(path=notebook.parent / "explorer.png")
