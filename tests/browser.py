"""Debian's chromium for tests: a window whose console must stay empty, and a mouse that drags."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

CHROMIUM = shutil.which("chromium")
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync"


@contextmanager
def window() -> Iterator:
    """A window of a projector's size; `wrong` lists errors of its console and requests that leave this machine."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        page, wrong = browser.new_page(viewport={"width": 1280, "height": 720}), []
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        elsewhere = ("http://127.0.0.1", "blob:", "data:", "file:")
        page.on("request", lambda request: request.url.startswith(elsewhere) or wrong.append(request.url))
        page.wrong = wrong
        page.set_default_navigation_timeout(120_000)
        yield page
        browser.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of static files, as `avlib app` has it."""
    from workbook.run.app import PageServer  # imports torch

    server = PageServer(folder)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def drag(page, box: dict, start: float, stop: float, height: float) -> None:
    """Drags the mouse over a part of a box; places are shares of its width and height."""
    across = [box["x"] + box["width"] * (start + (stop - start) * step / 8) for step in range(9)]
    page.mouse.move(across[0], box["y"] + box["height"] * height)
    page.mouse.down()
    for x in across[1:]:
        page.mouse.move(x, box["y"] + box["height"] * height)
        page.wait_for_timeout(30)
    page.mouse.up()
