"""Many viewers of the explorer's page at once, each in a tab of chromium: seconds to the first figure, and memory.

`--run` names a trained run, `--jobs` is the number of viewers. Memory is what the kernels add to the machine: what they
share counts once (proportional set size).
"""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time

import psutil

from benchmarks.timing import spread
from workbook import InputError

FIGURE = ".avlib-figure[data-drawn]"
LIMIT = 600  # seconds for the last viewer's figure
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


def measure(options) -> dict:
    """Seconds until each viewer sees the first figure, all having come at once, and MB of each kernel and of all."""
    from playwright.sync_api import sync_playwright

    if not options.run or not shutil.which("chromium"):
        raise InputError("this needs chromium and --run, the folder of a trained run")
    jobs = options.jobs or 2
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from workbook.cli import main; main()", "app", "--run", options.run]
    command += ["--port", str(port), "--no-browser", "--ready", "1", "--viewers", str(jobs + 1)]
    environment = os.environ | {"JUPYTER_TOKEN": "viewers"}
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
    try:
        _answering(port, server)
        time.sleep(30)  # one kernel is ready by then
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=[*FLAGS])
            first = _come(browser, f"http://127.0.0.1:{port}?token=viewers", 1)
            seconds = _come(browser, f"http://127.0.0.1:{port}?token=viewers", jobs - 1)
            kernels = [child for child in psutil.Process(server.pid).children(recursive=True) if is_kernel(child)]
            memory = [kernel.memory_full_info().pss / 2**20 for kernel in kernels]
            browser.close()
    finally:
        server.terminate()
        server.wait(30)
    return {
        "seconds of the viewer whose kernel was ready": round(first[0], 2),
        "seconds of the others": {name: round(value, 1) for name, value in spread(seconds).items()},
        "viewers": jobs,
        "kernels": len(kernels),
        "MB of a kernel": round(statistics.median(memory)),
        "MB of all kernels": round(sum(memory)),
    }


def _come(browser, address: str, viewers: int) -> list[float]:
    """The seconds until each of so many viewers, who come at once, sees the first figure."""
    pages = [browser.new_page(viewport={"width": 1280, "height": 720}) for _ in range(viewers)]
    begin, seen = time.perf_counter(), {}
    for page in pages:
        page.evaluate("address => void setTimeout(() => location.replace(address), 0)", address)
    while len(seen) < viewers and time.perf_counter() - begin < LIMIT:
        for number, page in enumerate(pages):
            if number not in seen and page.locator(FIGURE).count():
                seen[number] = time.perf_counter() - begin
        pages[0].wait_for_timeout(100)
    if len(seen) < viewers:
        raise InputError(f"{viewers - len(seen)} of {viewers} viewers saw no figure within {LIMIT} s")
    return list(seen.values())


def is_kernel(process: psutil.Process) -> bool:
    """Whether a process is a notebook's kernel; one that is ending is none."""
    try:
        return "ipykernel_launcher" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def _answering(port: int, server: subprocess.Popen) -> None:
    """Waits until the server can be reached."""
    for _ in range(600):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        if server.poll() is not None:
            break
        time.sleep(0.5)
    raise InputError("the page could not be served: `avlib app --run FOLDER` says why")
