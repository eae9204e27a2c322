"""The program that runs a command and stops it when its parent ends: this process is both the guard and its parent."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.command.embedded import guard

Run = Callable[..., int]


@pytest.fixture
def parent() -> Iterator[int]:
    """The parent's end of the guard's standard input: the guard stops its command once it is closed."""
    standard_input, (reader, writer) = os.dup(0), os.pipe()
    os.dup2(reader, 0)
    os.close(reader)
    yield writer
    os.dup2(standard_input, 0)
    os.close(standard_input)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(script: str, timeout: float = 5) -> int:
        command = ["guard.py", str(tmp_path / "lock"), str(timeout), "60", sys.executable, "-ISc", script]
        monkeypatch.setattr(sys, "argv", command)
        return guard.main()

    return run


@pytest.fixture
def lock(tmp_path: Path) -> int:
    """The lock, which another run holds."""
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


@pytest.mark.parametrize(
    ("script", "code"), [("", 0), ("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_a_guard_waits_for_its_lock_and_ends_with_the_code_of_its_command(
    run: Run, lock: int, parent: int, capfd: pytest.CaptureFixture[str], script: str, code: int
) -> None:
    # Given another run, which ends in a moment
    threading.Timer(0.2, os.close, [lock]).start()
    # When a guard runs a command, then it reports the process, and ends with its code
    assert run(script) == code
    assert int(capfd.readouterr().out) not in {0, os.getpid()}
    os.close(parent)


def test_a_guard_stops_its_command_when_its_parent_has_ended(run: Run, parent: int) -> None:
    os.close(parent)
    assert run("import time; time.sleep(60)") == 128 + signal.SIGTERM


def test_a_guard_does_not_start_its_command_while_another_process_holds_the_lock(
    run: Run, lock: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with subprocess.Popen(["/bin/sleep", "60"], pass_fds=[lock]) as holder:
        os.close(lock)
        code = run("", timeout=0.2)
        holder.kill()
    # Then it names the process
    assert (code, f"`kill {holder.pid}`" in capfd.readouterr().out) == (1, True)
