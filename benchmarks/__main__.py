"""`python -m benchmarks [PART ...]`: measure, print, and write docs/performance.md and README's figures."""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable

from benchmarks import cluster, finalize, fleet, latency, live, memory, sharing, silence, speakers, speech, word_times
from benchmarks.machine import commit, machine, versions
from benchmarks.record import Record
from benchmarks.report import Findings
from benchmarks.sizes import Sizes, smoke
from benchmarks.stack import MeasurementError

PARTS: dict[str, Callable[[Sizes], Awaitable[Findings]]] = {
    "speech": speech.measure,
    "words": word_times.measure,
    "speakers": speakers.measure,
    "sharing": sharing.measure,
    "live": live.measure,
    "finalize": finalize.measure,
    "silence": silence.measure,
    "latency": latency.measure,
    "cluster": cluster.measure,
    "memory": memory.measure,
    "fleet": fleet.measure,
}


def main() -> None:
    """Measure the named parts, by default all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all where none is named")
    parser.add_argument("--print-only", action="store_true", help="write nothing into the documents")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, no peers, nothing written")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}: {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # so that no local `.env` is read, and no peer writes here
        sizes = smoke(log) if arguments.smoke else Sizes(log=log)
        print(f"{machine()}\nthis service at {commit()}, {versions()}", flush=True)
        failed = asyncio.run(
            measure(arguments.parts or list(PARTS), sizes, write=not (arguments.smoke or arguments.print_only))
        )
    sys.exit(bool(failed))


async def measure(parts: list[str], sizes: Sizes, *, write: bool) -> list[str]:
    """Measure part by part, and return the parts that failed."""
    failed = []
    for part in parts:
        sizes.log(f"{part} ...")
        try:
            findings = await PARTS[part](sizes)
        except MeasurementError as error:
            sizes.log(f"{part} could not be measured: {error}")
            failed.append(part)
            continue
        for table in findings.tables:
            print(f"\n{table}\n", flush=True)
        if write:
            Record.kept().with_part(part, findings).write()
    return failed


def log(message: str) -> None:
    """Print what is measured now."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {message}\n")


if __name__ == "__main__":
    main()
