"""The explorer's page: its size, seconds to the first answer, ms a step, memory of a viewer, many viewers at once.

`--run` names a trained run, `--jobs` is the number of viewers, 200 by default. A simulated viewer downloads what a
browser does before the first answer, at the same time as all others, from one server of Python.
"""

import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from threading import Thread

from benchmarks.timing import spread
from workbook import InputError
from workbook.run.app import PageServer, write_page_of

READY = "#figure[data-idle=true]"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
MOVE = """async ([name, value]) => {
    const figure = document.getElementById("figure"), control = document.getElementById(name);
    const start = performance.now();
    control.value = value;
    control.dispatchEvent(new Event("input"));
    while (figure.dataset.idle !== "true") await new Promise((done) => setTimeout(done));
    return performance.now() - start;
}"""
CONTROLS = {"audio_gain": 5, "video_gain": 5, "audio_noise": 4, "video_noise": 4, "shift": 40}  # a new place of each


def measure(options) -> dict:
    """Megabytes of the page and of what a first answer needs; seconds and ms in chromium; seconds of many viewers."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if not options.run or not chromium:
        raise InputError("this needs chromium and --run, the folder of a trained run")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name) / "page"
        write_page_of([options.run], options.clips or 12, folder)
        server = PageServer(folder)
        Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=chromium, args=[*FLAGS])
        page, requests = browser.new_page(viewport={"width": 1280, "height": 720}), []
        page.on("request", lambda request: requests.append(request.url))
        start = time.perf_counter()
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.wait_for_selector(READY)
        first, paths = time.perf_counter() - start, [url.split("/", 3)[3] for url in requests if url.startswith("http")]
        steps = {name: round(page.evaluate(MOVE, [name, place])) for name, place in CONTROLS.items()}
        heap = page.evaluate("performance.memory.usedJSHeapSize") / 2**20
        browser.close()
        needed = sum((folder / (path or "index.html")).stat().st_size for path in paths)
        viewers = options.jobs or 200
        with ThreadPoolExecutor(viewers) as pool:
            seconds = list(pool.map(lambda _: _download(server.server_port, paths), range(viewers)))
        server.shutdown()
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {
            "MB of the page": round(sum(path.stat().st_size for path in files) / 2**20, 1),
            "MB until the first answer": round(needed / 2**20, 1),
            "MB of JavaScript's heap": round(heap, 1),
            "seconds until the first answer": round(first, 2),
            "ms of a step": steps | {"median": round(median(steps.values()))},
            "viewers": viewers,
            "seconds of each viewer's downloads": {key: round(value, 1) for key, value in spread(seconds).items()},
        }


def _download(port: int, paths: list[str]) -> float:
    start, connection = time.perf_counter(), HTTPConnection("127.0.0.1", port, timeout=600)
    for path in paths:
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        while answer.read(2**20):
            pass
    return time.perf_counter() - start
