"""The explorer's page of trained runs, and a server that shows it to browsers."""

import hashlib
import ipaddress
import sys
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from workbook import DATA, InputError
from workbook.attention.truth import clip_with_most_cues, cues_by_clip
from workbook.explore.page import PageCorpus, choose_clips, write_page
from workbook.run.reopen import TrainedRun, clips_key, from_here, names_of, open_trained


def write_page_of(folders: Sequence[str | Path], clips: int, target: Path) -> None:
    """Writes the page of some trained runs to a folder; runs that were tested with the same clips share them.

    folders : none = the run that was trained last      clips : of each test, on the page
    Raises InputError where a run or its data cannot be opened, and as `explore.page.write_page`.
    """
    paths = dict.fromkeys(from_here(Path(folder)) for folder in folders)
    runs = [open_trained(folder, device="cpu") for folder in paths or [""]]
    names = dict(zip((run.folder for run in runs), names_of([run.folder for run in runs]), strict=True))
    tests: dict[tuple, list[TrainedRun]] = {}
    for run in runs:
        tests.setdefault(clips_key(run.record), []).append(run)
    titles = [test[0].folder.parents[1].name for test in tests.values()]
    if len({*titles}) < len(titles):
        titles = [f"{title} {number}" for number, title in enumerate(titles, 1)]
    write_page(target, [_corpus(test, title, names, clips) for test, title in zip(tests.values(), titles, strict=True)])


def _corpus(runs: list[TrainedRun], name: str, names: dict[Path, str], clips: int) -> PageCorpus:
    test = max((run.test for run in runs), key=lambda test: len(test.modalities))
    cues = cues_by_clip(test.table, runs[0].truth)
    networks = {names[run.folder]: run.subject() for run in runs}
    return PageCorpus(name, networks, test, choose_clips(test, clip_with_most_cues(test.table, cues), clips), cues)


class _FileHandler(SimpleHTTPRequestHandler):
    """The files of a folder; at an address of this machine alone, only by its names, which no foreign page can send."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".js": "text/javascript", ".mjs": "text/javascript"}

    def send_head(self):
        own, host = self.server.server_address[0], self.headers.get("Host", "").rsplit(":", 1)[0]
        if ipaddress.ip_address(own).is_loopback and host not in (own, "localhost"):
            return self.send_error(403, "This page answers to localhost alone")
        return super().send_head()

    def log_message(self, *_) -> None:
        """Leaves the terminal without a line for each file."""


class PageServer(ThreadingHTTPServer):
    """A server of a folder's files; port : 0 = any that is free"""

    request_queue_size = 256  # viewers who come in the same moment
    allow_reuse_address = sys.platform != "win32"  # there it would share the port of another server

    def __init__(self, folder: Path, ip: str = "127.0.0.1", port: int = 0):
        super().__init__((ip, port), partial(_FileHandler, directory=str(folder)))


def serve(folders: Sequence[Path], clips: int, ip: str, port: int, browser: bool, echo: Callable[[str], None]) -> None:
    """Serves the page of some runs until it is interrupted. It is kept, so that it is there at once the next time.

    folders, clips : as in `write_page_of`
    ip : the address to listen at; 127.0.0.1 = this machine alone      port : 0 = any that is free
    browser : True opens the page here      echo : called with a line that says where the page is
    Raises InputError where nobody can listen there.
    """
    page = DATA / "pages" / hashlib.sha256("\n".join(map(str, folders)).encode()).hexdigest()[:8]
    write_page_of(folders, clips, page)
    try:
        server = PageServer(page, ip, port)
    except OSError as error:
        raise InputError(f"the page cannot be served at {ip}:{port} ({error.strerror}): give another --port") from None
    address = f"http://{ip}:{server.server_port}/"
    echo(f"The explorer is at {address} until you press Ctrl-C")
    if browser:
        webbrowser.open(address)
    with suppress(KeyboardInterrupt):
        server.serve_forever()
