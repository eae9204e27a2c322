"""The command line of `make mutants`."""

import argparse
import asyncio
import os
import secrets
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

from . import __doc__ as purpose
from .covering_tests import ROOT, covering_tests
from .tree_copy import TIERS, TreeCopy
from .trials import CODE, chosen, examine, mutants_of, report


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(purpose or "").split("\n", maxsplit=1)[0])
    parser.add_argument("number", type=int, help="how many changes are tried")
    parser.add_argument("only", nargs="*", help="files and folders that are changed: app and handlers")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10_000), help="repeats the changes of a run")
    parser.add_argument("--tier", action="append", choices=[tier.name for tier in TIERS], help="only these tests")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many changes are tried at a time")
    parser.add_argument("--ignore", action="append", default=[], help="tests that take too long")
    parsed = parser.parse_args()
    if parsed.number < 1 or parsed.jobs < 1:
        parser.error("the numbers of changes and of jobs start at 1")
    if wrong := [name for name in parsed.only if not mutants_of(ROOT, [name])]:
        parser.error(f"nothing to change in {', '.join(wrong)}")
    return parsed


async def main() -> None:
    """Try changes, and print the report."""
    options = arguments()
    if task := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # ends the tests as Ctrl-C does
    tiers = [tier for tier in TIERS if tier.name in (options.tier or [tier.name])]
    with tempfile.TemporaryDirectory() as folder:
        copies = [TreeCopy(ROOT, Path(folder), number, options.jobs) for number in range(options.jobs)]
        possible = mutants_of(copies[0].folder, options.only or CODE)
        tried = chosen(possible, options.number, options.seed)
        print(f"seed {options.seed}: {len(tried)} of {len(possible)} possible changes")
        with suppress(asyncio.CancelledError):  # Ctrl-C: what has been tried is reported
            for tier in tiers:
                covering = await covering_tests(tier, copies[0], options.jobs, options.ignore)
                await examine([mutant for mutant in tried if not mutant.noticed_by], tier, covering, copies)
    print(*report([mutant for mutant in tried if mutant.tests], tiers), sep="\n")


if __name__ == "__main__":
    asyncio.run(main())
