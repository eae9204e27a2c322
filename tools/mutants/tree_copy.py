"""Runs tests in a copy of the working tree."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

START_S = 60  # until the first test runs, at most
PASSED, SOME_FAILED, NOTHING_RAN, TOOK_TOO_LONG = 0, 1, 5, -1  # exit codes of pytest; the last one is ours


@dataclass(frozen=True)
class Tier:
    """Tests that run together; `test_s` is how long one of them may take."""

    name: str
    folders: tuple[str, ...]
    test_s: int

    def limit_s(self, tests: Sequence[str]) -> float:
        """Return how long all these tests may take."""
        return START_S + self.test_s * (1 + len(tests) / 10)


TIERS = (
    Tier("unit", ("tests/unit", "tests/handlers", "tests/contract"), test_s=20),
    Tier("integration", ("tests/integration",), test_s=120),
)


class TreeCopy:
    """A copy of a tree, without what git ignores, below `folder`; `number` of `copies` used at the same time."""

    def __init__(self, tree: Path, folder: Path, number: int = 0, copies: int = 1) -> None:
        self.folder = folder / f"copy{number}"
        self.output = folder / f"output{number}"  # of the last tests
        temporary = folder / f"temporary{number}"
        temporary.mkdir()
        paths = os.pathsep.join([str(self.folder), str(self.folder / "clients/python")])
        self._environment = {"PYTHONPATH": paths, "TMPDIR": str(temporary)} | {
            f"PYTEST_XDIST_WORKER{name}": value for name, value in (("", f"gw{number}"), ("_COUNT", str(copies)))
        }
        self._versions = count(1)
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=tree, capture_output=True, check=True, text=True).stdout  # noqa: S603
        for name in filter(None, listed.split("\0")):
            if os.path.lexists(tree / name):
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(tree / name, self.folder / name, follow_symlinks=False)

    @contextmanager
    def changed(self, path: str, source: str) -> Iterator[None]:
        """Replace the source of a file until the body ends."""
        file = self.folder / path
        original = file.read_text(encoding="utf-8")
        file.write_text(source, encoding="utf-8")
        version = next(self._versions)
        os.utime(file, (version, version))  # else Python may take a mutant of the same second and size for this one
        try:
            yield
        finally:
            file.write_text(original, encoding="utf-8")

    async def pytest(self, *arguments: str, limit_s: float | None = None, **environment: str) -> int:
        """Run tests, and end what they leave behind; return the exit code, `TOOK_TOO_LONG` after `limit_s`."""
        with self.output.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "pytest", "-q", "-m", "not node", *arguments),
                cwd=self.folder,
                env=os.environ | self._environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(limit_s):
                return await process.wait()
        except TimeoutError:
            return TOOK_TOO_LONG
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
