"""Check the model of the task protocol, docs/protocol/tasks.pml, with SPIN.

    make check-protocol

Each run explores all states of the model within some bounds. Runs with a seeded mistake must find it.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

MODEL = Path(__file__).parents[1] / "docs" / "protocol" / "tasks.pml"
SAFETY = ["-DSAFETY", "-DHC4"]  # HC4: states are stored as hashes of 64 bits
LIVENESS = ["-DCOLLAPSE", "-DNFAIR=3"]
STATES = re.compile(r"^\s*([\d.e+]+) states, stored", re.MULTILINE)
ERRORS = re.compile(r"errors: (\d+)")
INCOMPLETE = re.compile(r"max search depth too small|out of memory|Search not completed")


class Run(NamedTuple):
    """One run of the model checker; `macros` sets the bounds that differ from those in the model."""

    name: str
    macros: str
    has_mistake: bool = False

    @property
    def is_of_liveness(self) -> bool:
        """Whether the run searches for messages that wait for ever, instead of wrong states."""
        return "LIVENESS" in self.macros


RUNS = (
    Run("a crash or freeze, and a request", ""),
    Run("a crash or freeze, and a replay", "REPLAYS=1 REQUESTS=0"),
    Run("a request, and a replay", "REPLAYS=1 FAULTS=0 ATTEMPTS=1"),
    Run("two holders of the lease, and a crash or freeze", "HOLDERS=2 REQUESTS=0"),
    Run("two holders of the lease, and a request", "HOLDERS=2 FAULTS=0"),
    Run("a scheduled task, and a crash or freeze", "SCHEDULED REQUESTS=0"),
    Run("nothing waits for ever: a crash or freeze", "LIVENESS REQUESTS=0"),
    Run("nothing waits for ever: a request", "LIVENESS FAULTS=0 ATTEMPTS=1"),
    Run("mistake: acknowledge before append", "ACK_FIRST REQUESTS=0", has_mistake=True),
    Run("mistake: a read from a stale replica", "STALE_READ REPLAYS=1 REQUESTS=0", has_mistake=True),
    Run("mistake: no fence", "NO_FENCE REQUESTS=0", has_mistake=True),
)


def main() -> None:
    """Run the model checker, print what it has found, and exit with 1 if that is not what is expected."""
    if missing := [name for name in ("spin", "gcc") if shutil.which(name) is None]:
        print(
            f"skipped: the protocol is checked with {' and '.join(missing)}, which is not installed (apt install spin)"
        )
        return
    if wrong := [run.name for run in RUNS if not passes(run)]:
        sys.exit(f"the protocol is not as expected: {', '.join(wrong)}")


def passes(run: Run) -> bool:
    """Run the model checker once, print the result, and return whether it is as expected."""
    with tempfile.TemporaryDirectory() as folder:
        output = explored(run, Path(folder))
        states, errors = STATES.search(output), ERRORS.search(output)
        is_whole = states is not None and errors is not None and (run.has_mistake or not INCOMPLETE.search(output))
        has_errors = errors is None or errors[1] != "0"
        found = "a violation" if has_errors else "no violation"
        print(f"{run.name}: {found}, {float(states[1]) if states else 0:,.0f} states", flush=True)
        if not is_whole or has_errors != run.has_mistake:
            print(output, trail(run, Path(folder)) if has_errors else "", sep="\n")
            return False
        return True


def explored(run: Run, folder: Path) -> str:
    """Compile the model in `folder`, explore its states, and return what the model checker writes."""
    flags, options = (LIVENESS, ["-a", "-f"]) if run.is_of_liveness else (SAFETY, ["-E"])
    done(["spin", *macros(run), "-a", str(MODEL)], folder)
    done(["gcc", "-O2", "-w", *flags, "-o", "pan", "pan.c"], folder)
    return done(["./pan", *options, "-m100000", "-w26"], folder)


def trail(run: Run, folder: Path) -> str:
    """Return the steps that lead to a violation."""
    shutil.copy(folder / f"{MODEL.name}.trail", folder / "trail")
    return done(["spin", *macros(run), "-k", "trail", "-p", "-g", str(MODEL)], folder)


def macros(run: Run) -> list[str]:
    """Return the options that set the macros of a run."""
    return [f"-D{macro}" for macro in run.macros.split()]


def done(command: list[str], folder: Path) -> str:
    """Run a command in `folder`, and return what it writes."""
    result = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)  # noqa: S603 -- ours
    return result.stdout


if __name__ == "__main__":
    main()
