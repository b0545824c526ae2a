"""The attention notebook in JupyterLab, in a real browser: Run All, choose another clip, see another figure."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import papermill
import pytest
from conftest import JUPYTER_FOLDERS

from avlib import DATA, ROOT

CHROMIUM = shutil.which("chromium")
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync"

# What a test waits for, and what it shows when it waits in vain. A cell's prompt is null until it has been run.
STATE = """() => {
    const panel = window.jupyterapp?.shell.currentWidget;
    const session = panel?.sessionContext;
    const cells = [...(panel?.content?.model?.cells ?? [])].filter(cell => cell.type === 'code');
    const outputs = cells.flatMap(cell => cell.outputs.toJSON());
    const failed = outputs.filter(output => output.output_type === 'error');
    const said = outputs.filter(output => output.name === 'stderr').map(output => [output.text].flat().join(''));
    const texts = selector => [...document.querySelectorAll(selector)].map(node => node.innerText.slice(0, 500));
    return {
        kernel: session?.isReady ? session.session?.kernel?.status ?? 'none' : 'not ready',
        prompts: cells.map(cell => cell.executionCount),
        errors: [
            ...failed.map(output => `${output.ename}: ${output.evalue}`),
            ...said.filter(text => text.includes('Error')).map(text => text.slice(-500)),
        ],
        dialogs: texts('.jp-Dialog'),
        widgets: texts('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.widget-view+json"]'),
        pictures: [...document.querySelectorAll('.widget-image')].map(
            image => ({src: image.src, width: image.naturalWidth})
        ),
    };
}"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine"),
]


@pytest.fixture(scope="module")
def notebook(smoke, tmp_path_factory) -> Path:
    """A copy of the attention notebook of a run that exists."""
    source, copy = ROOT / "notebooks" / "attention.ipynb", tmp_path_factory.mktemp("lab") / "attention.ipynb"
    papermill.execute_notebook(source, copy, parameters={"run": str(smoke)}, prepare_only=True, progress_bar=False)
    return copy


@pytest.fixture(scope="module")
def server(notebook, tmp_path_factory):
    """The address of a JupyterLab on the notebook's folder, which knows no settings but these."""
    home = tmp_path_factory.mktemp("jupyter")
    settings = home / "settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"windowingMode": "none"}))  # cells out of sight are in the page, too
    own = {name: str(home / folder) for name, folder in JUPYTER_FOLDERS.items()}
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ServerApp.port=0"]
    command += [f"--ServerApp.root_dir={notebook.parent}", "--IdentityProvider.token=toy", "--expose-app-in-browser"]
    log = notebook.parent / "server.log"
    process = subprocess.Popen(command, stderr=log.open("w"), env=os.environ | own | {"AVLIB_DATA": str(DATA)})
    try:
        yield _address(log, process)
    finally:
        process.terminate()
        process.wait(20)


def _address(log: Path, process: subprocess.Popen) -> str:
    for _ in range(120):
        found = re.search(r"http://(localhost|127\.0\.0\.1):(\d+)/", log.read_text())
        if found:
            return f"http://127.0.0.1:{found[2]}"
        assert process.poll() is None, log.read_text()[-2000:]
        time.sleep(0.5)
    raise AssertionError(f"JupyterLab did not say where it is: {log.read_text()[-2000:]}")


def wait(page, seconds: int, what: str, done) -> dict:
    """The state of the page as soon as `done(state)`; an AssertionError that shows it where that takes too long."""
    end = time.monotonic() + seconds
    while not done(state := page.evaluate(STATE)):
        assert time.monotonic() < end, f"{what}: not within {seconds} s\n{json.dumps(state, indent=2)}"
        page.wait_for_timeout(250)
    return state


def run_all(page) -> None:
    """Run All Cells, from the menu, until the last cell is done.

    Asked for any sooner than the kernel is connected, JupyterLab starts a kernel for every cell, asks which one to
    take, or forgets the cells. Its indicator cannot tell: it shows `idle` as long as there is no kernel at all.
    """
    wait(page, 120, "a kernel is connected and idle", lambda state: state["kernel"] == "idle")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    ended = wait(
        page,
        300,
        "every cell has run, or one failed",
        lambda state: state["kernel"] == "idle" and (state["errors"] or None not in state["prompts"]),
    )
    assert not ended["errors"], json.dumps(ended, indent=2)


def test_run_all_shows_the_explorer_and_another_clip_redraws_its_figure(server, notebook):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(f"{server}/lab/tree/{notebook.name}?token=toy")
        run_all(page)
        before = wait(page, 60, "the explorer shows a figure", lambda state: drawn(state["pictures"]))["pictures"]
        page.locator(".widget-dropdown", has_text="emotion").locator("select").select_option("angry")
        after = wait(
            page,
            60,
            "the explorer shows another figure",
            lambda state: drawn(state["pictures"]) and state["pictures"] != before,
        )
        assert not after["errors"], json.dumps(after, indent=2)
        page.locator(".widget-image").scroll_into_view_if_needed()
        page.screenshot(path=notebook.parent / "explorer.png")
        browser.close()


def drawn(pictures: list[dict]) -> bool:
    """Whether there is one picture, and it is a whole one."""
    return len(pictures) == 1 and pictures[0]["width"] > 500
