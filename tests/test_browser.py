"""The attention notebook in JupyterLab, in a real browser: Run All, choose another clip, see another figure."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import papermill
import pytest
from conftest import SMOKE

from avlib import DATA, ROOT

CHROMIUM = shutil.which("chromium")
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine"),
]


@pytest.fixture(scope="module")
def notebook(smoke, small_toy, tmp_path_factory) -> Path:
    """A copy of the attention notebook whose parameters ask for a run that exists."""
    source, copy = ROOT / "notebooks" / "attention.ipynb", tmp_path_factory.mktemp("lab") / "attention.ipynb"
    given = SMOKE | {"data_root": str(small_toy), "outputs_root": str(smoke.parents[2])}
    given = {name: value for name, value in given.items() if name in papermill.inspect_notebook(source)}
    papermill.execute_notebook(source, copy, parameters=given, prepare_only=True, progress_bar=False)
    return copy


@pytest.fixture(scope="module")
def server(notebook):
    """The address of a JupyterLab on the notebook's folder."""
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ServerApp.port=0"]
    command += [f"--ServerApp.root_dir={notebook.parent}", "--IdentityProvider.token=toy"]
    log = notebook.parent / "server.log"
    process = subprocess.Popen(command, stderr=log.open("w"), env=os.environ | {"AVLIB_DATA": str(DATA)})
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


def run_all(page) -> None:
    """Run All Cells, asked for again until the first prompt shows that it was heard: a page just opened may not be."""
    from playwright.sync_api import TimeoutError

    for _ in range(12):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        try:
            page.locator(".jp-InputPrompt", has_text=re.compile(r"\[(\*|\d+)\]")).first.wait_for(timeout=5_000)
            return
        except TimeoutError:
            continue
    raise AssertionError("JupyterLab did not run the notebook")


def test_run_all_shows_the_explorer_and_another_clip_redraws_its_figure(server, notebook):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(f"{server}/lab/tree/{notebook.name}?token=toy&reset")
        page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
        run_all(page)
        picture = page.locator(".widget-image")
        picture.wait_for(state="attached", timeout=180_000)
        picture.scroll_into_view_if_needed()
        page.wait_for_function("document.querySelector('.widget-image').naturalWidth > 500", timeout=60_000)
        before = picture.get_attribute("src")
        page.locator(".widget-dropdown", has_text="emotion").locator("select").select_option("angry")
        page.wait_for_function(
            "before => { const image = document.querySelector('.widget-image');"
            " return image.src !== before && image.naturalWidth > 500 }",
            arg=before,
            timeout=60_000,
        )
        errors = page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr'] >> text=Error")
        assert errors.count() == 0
        page.screenshot(path=notebook.parent / "explorer.png")
        browser.close()
