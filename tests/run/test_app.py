"""The explorer as a page: what Voila is given; test_browser.py looks at it."""

import nbformat
from click.testing import CliRunner
from papermill import execute_notebook

from workbook.cli import main
from workbook.run import app


def test_the_page_shows_the_explorer_alone_and_opens_the_run_it_is_told(smoke, tmp_path):
    path = app.write_page(tmp_path, str(smoke))
    title, before, page = execute_notebook(path, None, progress_bar=False).cells
    assert title.source.splitlines()[0] == "### The explorer: change it and see"
    assert title.source.endswith("</details>") and "mask" in title.source, "a legend to unfold"
    assert not before.outputs
    ((shown,),) = [[output.data for output in page.outputs]]
    assert "application/vnd.jupyter.widget-view+json" in shown


def test_a_run_that_cannot_be_opened_is_one_sentence_before_anything_is_served(tmp_path):
    result = CliRunner().invoke(main, ["app", "--run", str(tmp_path), "--no-browser"])
    assert result.exit_code == 2 and "holds no trained run" in result.output


def test_the_cell_that_makes_the_page_is_marked_in_the_notebook():
    book = nbformat.read(app.ROOT / "notebooks" / "explorer.ipynb", as_version=4)
    (cell,) = [cell for cell in book.cells if app.PAGE in cell.metadata.get("tags", [])]
    assert cell.source.endswith("explorer")
