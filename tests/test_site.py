"""The site of `make pages`: each page and link is there, nothing comes from elsewhere, no path of a machine is told."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote, urldefrag

import nbformat
import pytest
from browser import CHROMIUM, FLAGS, served
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_output

from workbook import ROOT

pytest.importorskip("myst_nb")
PAGES = ["README.md", "docs", "notebooks", "outputs/gallery"]
LINKED = ["site", "LICENSE", "CITATION.cff", "CHANGELOG.md", "Makefile", "params", "tests", "avlib", "workbook"]
RUN = "outputs/toy/ia1-frozen-softhard-pretrained/fold0-seed1"
AUTHOR = "/home/somebody/else"  # where the notebooks of the demo were executed
OUTPUTS = [
    new_output("stream", name="stdout", text=f"a new run: {AUTHOR}/{RUN}\n"),
    new_output("stream", name="stdout", text="\rbatch 3 of 9"),
    new_output("stream", name="stdout", text="\rbatch 9 of 9\n"),
    new_output("stream", name="stderr", text="/tmp/ipykernel_7/1.py: a warning"),
    new_output("display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "7"}, "text/plain": "HBox()"}),
    new_output("display_data", {"text/html": '<audio controls src="data:audio/wav;base64,UklGRg=="></audio>'}),
    new_output("display_data", {"image/svg+xml": '<svg xmlns="http://www.w3.org/2000/svg"><circle r="9"/></svg>'}),
]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of what the site is made from, where the demo has executed train.ipynb and no other notebook."""
    copy = tmp_path_factory.mktemp("source")
    for name in PAGES + LINKED:
        (copy / name).parent.mkdir(exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "my_fusions.py"))
        else:
            shutil.copy(ROOT / name, copy / name)
    notebook = nbformat.read(ROOT / "notebooks/train.ipynb", 4)
    notebook.metadata["papermill"] = {"input_path": f"{AUTHOR}/notebooks/train.ipynb"}
    notebook.cells.append(new_code_cell("run", outputs=OUTPUTS))
    (copy / RUN).mkdir(parents=True)
    nbformat.write(notebook, copy / RUN / "train.ipynb")
    return copy


@pytest.fixture(scope="module")
def site(source) -> Path:
    """The site, by the command of the Makefile; a warning ends it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    env["VIRTUAL_ENV"] = sys.prefix
    plan = subprocess.run(["make", "--dry-run", "pages"], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    (command,) = [shlex.split(line) for line in plan.stdout.splitlines() if "-m sphinx" in line]
    done = subprocess.run([sys.executable, *command[1:]], cwd=source, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return source / "build/site"


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, BeautifulSoup]:
    paths = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    return {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in paths}


def test_every_page_of_docs_and_every_notebook_is_in_the_navigation(site, pages):
    navigation = pages[site / "index.html"].select_one(".bd-sidebar-primary")
    listed = {unquote(link["href"]) for link in navigation.select("a[href]")}
    paths = [*ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("notebooks/lessons/*.ipynb")]
    expected = {path.relative_to(ROOT).with_suffix(".html").as_posix() for path in paths} | {"notebooks/README.html"}
    assert not expected - listed


def test_links_lead_somewhere_and_nothing_is_loaded_from_another_host(pages):
    dead = []
    for page, tree in pages.items():
        for tag in tree.select("[href], [src]"):
            target = tag.get("src") or tag["href"]
            name, section = urldefrag(target)
            path = page.parent / unquote(name.partition("?")[0]) if name else page
            if target.startswith("data:") or (tag.name == "a" and target.startswith("https:")):
                continue
            if not path.exists() or (section and path in pages and not pages[path].find(id=unquote(section))):
                dead.append((page.name, target))
    assert not dead


def test_styles_and_scripts_fetch_nothing_from_another_host(site):
    fetched = re.compile(r"""(?:url\(|@import|import\(|fetch\()\s*["']?(https?:)?//[^)]*""")
    assert not {path.name for path in site.rglob("*.css") if fetched.search(path.read_text(encoding="utf-8"))}
    assert not {path.name for path in site.rglob("*.js") if fetched.search(path.read_text(encoding="utf-8"))}


def test_no_path_of_the_machine_is_on_the_site(site, source):
    private = [AUTHOR, str(source), str(ROOT), f"{Path.home()}/", f"{tempfile.gettempdir()}/"]
    texts = {path: path.read_bytes().decode("utf-8", "ignore") for path in site.rglob("*") if path.is_file()}
    assert not [(path.name, word) for path, text in texts.items() for word in private if word in text]


def test_an_executed_notebook_shows_its_outputs_sounds_and_formulas(site):
    page = (site / "notebooks/train.html").read_text(encoding="utf-8")
    assert f"a new run: {RUN}" in page and "batch 9 of 9" in page and "batch 3 of 9" not in page
    assert "<audio" in page and ".svg" in page and "<math" in page
    assert "HBox()" not in page and "a warning" not in page and "no figures yet" not in page


def test_a_notebook_that_was_not_executed_says_how(site, pages):
    notes = {name: pages[site / f"notebooks/{name}.html"].select_one(".note").text for name in ("evaluate", "degrade")}
    assert "make demo" in notes["evaluate"] and "papermill" not in notes["evaluate"]
    assert "papermill notebooks/degrade.ipynb outputs/toy_speaker/" in notes["degrade"]


@pytest.fixture(scope="module")
def address(site):
    with served(site) as address:
        yield address


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine")
@pytest.mark.parametrize("width, scheme", [(390, "light"), (1280, "dark")])
def test_the_site_fits_the_screen_follows_its_colours_and_finds_words_without_internet(address, width, scheme):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        trouble = []
        page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: trouble.append(request.url) if address not in request.url else None)
        page.route(lambda url: not url.startswith((address, "data:")), lambda route: route.abort())
        for name in ("index.html", "docs/running.html", "docs/attention.html", "notebooks/train.html"):
            page.goto(address + name)
            assert page.evaluate("document.documentElement.scrollWidth") == width, name
            background = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 300) is (scheme == "dark"), background
        link = page.get_by_role("link", name="Where things are").first
        if width == 390:
            assert not link.is_visible()
            page.locator("button.primary-toggle:visible").first.click()
        link.click()
        page.wait_for_url("**/docs/layout.html")
        page.goto(address + "search.html?q=softhard")
        page.locator("ul.search li a", has_text="Systems").first.wait_for()
        browser.close()
    assert not [text for text in trouble if not text.startswith("data:")]
