"""The explorer as a page: what Voila is given; test_browser.py looks at it."""

import http.client
import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from types import SimpleNamespace

import nbformat
import psutil
import pytest
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
    widget, picture = [output.data for output in page.outputs]
    assert "application/vnd.jupyter.widget-view+json" in widget and "<img" in picture["text/html"], picture.keys()


def test_a_run_that_cannot_be_opened_is_one_sentence_before_anything_is_served(tmp_path):
    result = CliRunner().invoke(main, ["app", "--run", str(tmp_path), "--no-browser"])
    assert result.exit_code == 2 and "holds no trained run" in result.output


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Port of the page of a small notebook, for three kernels, of which one waits, and the processes of the server."""
    pytest.importorskip("voila", reason="the extra `app` is not installed")
    folder = tmp_path_factory.mktemp("page")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell("print('the page')")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "small.ipynb")
    app.write_template(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = app.voila_command(folder / "small.ipynb", "127.0.0.1", port, viewers=3, ready=1, browser=False)
    environment = os.environ | {"JUPYTER_TOKEN": "toy", "JUPYTER_PATH": str(folder)}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert any("Voilà is running" in line for line in process.stderr)
    Thread(target=process.stderr.read, daemon=True).start()
    yield port, psutil.Process(process.pid)
    process.stdin.close()
    process.wait(20)
    assert not folder.exists()


def get(port, path="/?token=toy", **headers):
    """Status and text of the page's answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


@pytest.mark.parametrize("host", ["evil.example:8866", "127.0.0.1.evil.example", ""])
def test_the_page_answers_only_to_the_names_of_this_machine(page, host):
    port, server = page
    kernels = len(server.children(recursive=True))
    for path in ("/?token=toy", "/", "/login", "/api/kernels/00000000-0000-0000-0000-000000000000/channels"):
        assert get(port, path, Host=host)[0] in (400, 403)
    assert len(server.children(recursive=True)) <= max(kernels, 1)


@pytest.mark.parametrize("path", ["/", "/?token=guess", "/api/kernels/00000000-0000-0000-0000-000000000000"])
def test_nobody_gets_in_without_the_token_and_no_kernel_starts(page, path):
    port, server = page
    kernels = len(server.children(recursive=True))
    assert get(port, path)[0] in (302, 403)
    assert len(server.children(recursive=True)) <= max(kernels, 1), "one waits from the beginning"


def test_a_limited_number_of_viewers_gets_a_kernel(page):
    port, server = page
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: get(port), range(8)))
    statuses = [status for status, _ in answers]
    assert 1 <= statuses.count(200) <= 3 and statuses.count(200) + statuses.count(503) == 8
    assert all("the page" in text for status, text in answers if status == 200)
    assert any("All 3 places are taken" in text for status, text in answers)
    assert len(server.children(recursive=True)) <= 3


def test_memory_that_is_short_leaves_room_for_fewer_viewers(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2_000_000_000))
    assert [app.kernels_for(viewers) for viewers in (1, 20)] == [1, 2]
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1))
    assert app.kernels_for(20) == 1
