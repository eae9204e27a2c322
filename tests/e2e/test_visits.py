"""Visits in a browser that fail leave nothing behind that would keep the test run from ending."""

import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.e2e import browser
from tests.e2e.browser import driven_by, serving


@pytest.mark.node
def test_a_visit_that_takes_too_long_ends_with_its_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a program that starts another one, and never ends
    monkeypatch.setattr(browser, "WITHIN_S", 2)
    program = tmp_path / "endless.mjs"
    program.write_text(
        'import { spawn } from "node:child_process";\n'
        'spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "inherit", detached: true });\n'
        "setInterval(() => {}, 1000);\n",
        encoding="utf-8",
    )
    before, began = set(psutil.Process().children(recursive=True)), time.monotonic()
    # When it is run, then it fails soon, and no process is left
    with pytest.raises(AssertionError, match="was killed after 2 s"):
        driven_by(str(program))
    assert time.monotonic() - began < 20
    _, left = psutil.wait_procs(set(psutil.Process().children(recursive=True)) - before, timeout=10)
    assert left == []


def test_the_server_of_a_failed_visit_ends(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(TimeoutError), serving(tmp_path):
        raise TimeoutError
    assert threading.active_count() == before
