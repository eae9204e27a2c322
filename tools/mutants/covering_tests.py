"""Records which test runs which line, and keeps the record in `.coverage.mutants` until code or tests change.

Lines that child processes run are not recorded.
"""

import json
import re
import shutil
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from coverage import CoverageData

from .mutations import Mutation
from .tree_copy import PASSED, SOME_FAILED, TIERS, Tier, TreeCopy

ROOT = Path(__file__).parents[2]
ROOMS = ("app", "clients", "handlers", "schemas", "tests")
RECORDS = ROOT / ".coverage.mutants"
READS_ALL = "tests/unit/measurements/test_positive_constants.py"  # every module, and runs nothing of it
LINES, CACHE = "lines", "cache"  # in a record: what coverage and pytest write
FAILED = f"{CACHE}/v/cache/lastfailed"
_SETUP = "|setup"  # how the name of a test ends in a record, for what its fixtures run


class CoveringTests:
    """The tests of a tier, by the lines that they run."""

    def __init__(self, record: Path) -> None:
        self._lines = CoverageData(str(record / LINES))
        self._lines.read()
        failed = record / FAILED
        self.failed = {_name(test) for test in json.loads(failed.read_bytes())} if failed.exists() else set()

    def of(self, path: str, mutation: Mutation) -> list[str]:
        """Return the tests that run the changed line, without those that fail anyway; whole files after fixtures."""
        lines = self._lines.contexts_by_lineno(path)
        tests = set(lines.get(mutation.line) or lines.get(mutation.statement) or [])
        if "" in tests:  # it runs when the module is imported, so all that use the module may notice
            tests.update(*lines.values(), [READS_ALL])
        # A fixture may have run the line once for all tests of a file: then only the first of them is known.
        files = {_file(test) for test in tests if test.endswith(_SETUP)} - set(map(_file, self.failed))
        names = {_name(test) for test in tests if test and _file(test) not in files}
        return sorted(names - self.failed | files)


async def covering_tests(tier: Tier, tree: TreeCopy, jobs: int, ignored: Sequence[str]) -> CoveringTests:
    """Return which tests run which lines; record it again if the code, the tests or what is ignored have changed."""
    record = RECORDS / f"{tier.name}-{_state(tree.folder, tier, ignored)}"
    if not record.exists():
        print(f"recording what the {tier.name} tests run, once", file=sys.stderr)
        for old in RECORDS.glob(f"{tier.name}*"):
            shutil.rmtree(old)
        new = RECORDS / f"{tier.name}.new"
        code = await tree.pytest(
            *("-n", str(jobs), "--dist", "loadgroup", "--continue-on-collection-errors"),
            *("--cov", "--cov-context=test", "--cov-report=", "-o", f"cache_dir={new / CACHE}"),
            *(f"--ignore={path}" for path in ignored),
            *tier.folders,
            COVERAGE_FILE=str(new / LINES),
        )
        if code not in {PASSED, SOME_FAILED}:
            sys.exit(f"the {tier.name} tests cannot run\n{tree.output.read_text(encoding='utf-8')}")
        new.rename(record)
    return CoveringTests(record)


def _file(test: str) -> str:
    return test.partition("::")[0]


def _name(test: str) -> str:
    return re.split(r"[\[@|]", test, maxsplit=1)[0]  # without parameters, group, and whether it is set up or runs


def _state(tree: Path, tier: Tier, ignored: Sequence[str]) -> str:
    """Return a hash of the code, its tests, but for those of other tiers, and what is ignored."""
    others = tuple(folder for other in TIERS if other != tier for folder in other.folders)
    state = sha256("\0".join(ignored).encode())
    for file in sorted(file for room in ROOMS for file in (tree / room).rglob("*.py")):
        name = file.relative_to(tree).as_posix()
        if not name.startswith(others):
            state.update(name.encode() + file.read_bytes())
    return state.hexdigest()[:16]
