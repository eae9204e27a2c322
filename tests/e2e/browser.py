"""A real browser, which a program of tools/node drives, and a server of files for it."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import PIPE
from typing import Any

import psutil
import pytest

from tests.document import ROOT
from tests.programs import BIN

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed; Debian has it as `chromium`")
FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
NEEDS_FIREFOX = pytest.mark.skipif(FIREFOX is None, reason="no Firefox is installed; Debian has it as `firefox-esr`")
WITHIN_S = 280  # a visit of ten seconds takes two minutes beside ten busy processes a core


def driven_by(program: str, *arguments: Path | str, browser: str | None = CHROMIUM) -> dict[str, Any]:
    """What a program of tools/node reports of the browser that it drives."""
    command = [BIN / "node", program, str(browser), *arguments]
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True, cwd=ROOT / "tools/node") as driver:
        try:
            output, errors = driver.communicate(timeout=WITHIN_S)
        except subprocess.TimeoutExpired:
            # `node` is a script that starts the program: killed alone, it would leave the program with these pipes.
            for process in psutil.Process(driver.pid).children(recursive=True):
                process.kill()
            driver.kill()
            output, errors = driver.communicate()
            errors += f"{program} was killed after {WITHIN_S} s"
    assert driver.returncode == 0, errors
    report: dict[str, Any] = json.loads(output)
    return report


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name is the library's
        pass


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve the files of a folder over HTTP; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:  # the thread of a failed test would keep Python from ending
        server.shutdown()
        thread.join()
        server.server_close()
