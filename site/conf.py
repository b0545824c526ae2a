"""Sphinx's settings for `make pages`: README.md, docs/ and the notebooks, read where they stand."""

import json
import os
import re
import shutil
from pathlib import Path

import nbformat
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

ROOT = Path(__file__).parents[1]
NAVIGATION = (ROOT / "site/navigation.md").read_text(encoding="utf-8")
EXPLORER = ROOT / "build/extra/explorer"  # a static explorer, where there is one
SPEAKER = "outputs/toy_speaker/ia1-frozen-none/fold0-seed1"
DROPOUT = "outputs/toy/ia1-frozen-softhard-pretrained/fold0-seed1"
OF_SPEAKER = {"explorer", "attention", "faithfulness"}  # they show where attention goes
OF_DEMO = {"preprocess", "pretrain", "train", "evaluate", "attention"}  # `make demo` executes them
WIDGET = "application/vnd.jupyter.widget-view+json"

project, author, root_doc = "avlib", "the avlib authors", "README"
include_patterns = ["README.md", "docs/*.md", "notebooks/*.md", "notebooks/*.ipynb", "notebooks/lessons/*.*"]
exclude_patterns = [".*", "build", "data", "outputs", "**/.*"]
extensions, myst_enable_extensions, myst_heading_anchors = ["myst_nb"], ["colon_fence", "dollarmath"], 4
nb_execution_mode, nb_output_stderr, nb_ipywidgets_js = "off", "remove", {}  # no script of another host
html_theme, html_title, html_context = "sphinx_book_theme", "avlib", {"default_mode": "auto"}
html_theme_options = {"home_page_in_toc": True, "use_download_button": False, "use_fullscreen_button": False}
html_theme_options["navbar_persistent"] = []  # the search is in the sidebar
html_static_path, html_css_files, html_math_renderer = ["static"], ["site.css"], "mathml"
highlight_language = "none"
html_use_index = html_copy_source = smartquotes = False
html_extra_path = [str(EXPLORER.parent)] if EXPLORER.exists() else []


def read_page(app, docname: str, source: list[str]) -> None:
    """Gives the first page the navigation, and a notebook its outputs."""
    if docname == root_doc:
        listed = re.findall(r"^(?:.*<)?([\w/]+)>?$", NAVIGATION, re.M)
        source[0] += NAVIGATION.replace("REMAINING", "\n".join(sorted(app.project.docnames - {root_doc, *listed})))
    elif docname == "docs/explorer" and EXPLORER.exists():
        source[0] += '\n<p><a href="../explorer/index.html">Open the explorer in this browser</a></p>\n'
    elif app.env.doc2path(docname).suffix == ".ipynb":
        name = docname.rpartition("/")[2]
        run = SPEAKER if name in OF_SPEAKER else DROPOUT
        paths = sorted(ROOT.glob(f"outputs/toy*/*/*/{name}.ipynb"), key=lambda path: (run not in path.as_posix(), path))
        notebook = with_outputs(paths[0]) if paths else with_note(docname, name, source[0])
        source[0] = nbformat.writes(notebook)


def with_outputs(path: Path) -> nbformat.NotebookNode:
    """An executed notebook without paths of the machine, without progress bars, with pictures in place of widgets."""
    text = path.read_text(encoding="utf-8")
    origin = json.loads(text)["metadata"].get("papermill", {}).get("input_path", "")
    for folder in (origin.rpartition("notebooks")[0], f"{ROOT}{os.sep}"):
        text = text.replace(json.dumps(folder)[1:-1], "")
    notebook = nbformat.reads(text, 4)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.outputs = [output for output in cell.get("outputs", []) if WIDGET not in output.get("data", {})]
    return CoalesceStreamsPreprocessor().preprocess(notebook, {})[0]


def with_note(docname: str, name: str, text: str) -> nbformat.NotebookNode:
    """A notebook without outputs, and the commands that make them."""
    commands = "make demo\n" + ("" if name in OF_DEMO else f"papermill {docname}.ipynb {SPEAKER}/{name}.ipynb\n")
    note = f":::{{note}}\nThis page has no figures yet. These commands add them:\n```\n{commands}make pages\n```\n:::"
    notebook = nbformat.reads(text, 4)
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell(note))
    return notebook


def visit_math(translator, node: nodes.Element) -> None:
    """A formula as MathML, which browsers draw without a script."""
    block = isinstance(node, nodes.math_block)
    formula = tex2mathml(node.astext(), as_block=block)
    translator.body.append(f'<div class="math">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def write_index(app, exception: Exception | None) -> None:
    if exception is None:
        shutil.copyfile(app.outdir / "README.html", app.outdir / "index.html")


def setup(app) -> None:
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
    app.connect("source-read", read_page)
    app.connect("build-finished", write_index)
