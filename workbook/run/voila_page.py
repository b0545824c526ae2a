"""Voila for the explorer's page: with a token, for this machine's address, and for a limited number of kernels.

`workbook.run.app` starts it in a process of its own, which ends with the one that has started it.
"""

import ipaddress
import logging
import os
import shutil
import signal
import sys
import webbrowser
from pathlib import Path
from threading import Thread
from typing import Any

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.web import HTTPError
from traitlets import Integer
from voila.app import Voila


class FewKernels(AsyncMappingKernelManager):
    """Starts no more than `most` kernels; then a viewer is asked to come later."""

    most = Integer(1, config=True)
    starting = 0

    async def start_kernel(self, **options: Any) -> str:
        if len(self) + self.starting >= self.most:
            raise HTTPError(503, reason=f"All {self.most} places are taken: come again in two minutes")
        self.starting += 1
        try:
            return await super().start_kernel(**options)
        finally:
            self.starting -= 1


class Page(Voila):
    """Voila, which knows the names of the machine that it serves."""

    def init_settings(self) -> dict:
        """Voila's settings; at 127.0.0.1 the Host header must be this machine's, which no foreign page can send."""
        self.voila_configuration.multi_kernel_manager_class = FewKernels
        is_local = self.ip == "localhost" or ipaddress.ip_address(self.ip).is_loopback
        return super().init_settings() | {"allow_remote_access": not is_local}

    def launch_browser(self) -> None:
        """Opens the page with its token, by a file that only its owner can read."""
        file = Path(self.notebook_path).parent / "open.html"
        address = f"{self.connection_url}?token={self.identity_provider.token}"
        file.write_text(f'<meta http-equiv="refresh" content="0; url={address}">')
        Thread(target=webbrowser.open, args=[file.as_uri()], daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process as soon as the one that has started it closes its pipe, or has died."""
    sys.stdin.read()
    logging.disable()
    os.kill(os.getpid(), signal.SIGTERM)


def _serve_page(page: Path, options: list[str]) -> None:
    """Runs Voila in this process, and removes the page's folder at its end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # until Voila has its own handler
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        Page.launch_instance([str(page), *options])
    finally:
        shutil.rmtree(page.parent, ignore_errors=True)


if __name__ == "__main__":
    _serve_page(Path(sys.argv[1]), sys.argv[2:])
