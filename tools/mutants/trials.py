"""Tries mutants of the service, and reports what survives."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .covering_tests import CoveringTests
from .mutations import Mutation, mutations
from .tree_copy import PASSED, Tier, TreeCopy

CODE = ("app", "handlers")
NOTHING_TO_RUN = 5  # pytest's exit code
err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


@dataclass
class Mutant:
    """A mutation of a file, and what became of it; `tests` has the tests that ran, for each tier."""

    path: str
    mutation: Mutation
    diff: str
    tests: dict[str, list[str]] = field(default_factory=dict)
    noticed_by: str | None = None

    @property
    def place(self) -> str:
        """Where it is, as editors understand it."""
        return f"{self.path}:{self.mutation.line}"


def mutants_of(tree: Path, only: Sequence[str] = CODE) -> list[Mutant]:
    """Return all mutants of the files and folders `only`, in their order."""
    files = (file for name in only for file in [tree / name, *(tree / name).rglob("*.py")] if file.is_file())
    sources = {file.relative_to(tree).as_posix(): file.read_text(encoding="utf-8") for file in files}
    return [
        Mutant(path, each, each.diff(source)) for path, source in sorted(sources.items()) for each in mutations(source)
    ]


def chosen(possible: Sequence[Mutant], number: int, seed: int) -> list[Mutant]:
    """Choose some mutants at random, by a seed."""
    return random.Random(seed).sample(possible, min(number, len(possible)))  # noqa: S311


async def is_noticed(mutant: Mutant, tests: Sequence[str], tier: Tier, tree: TreeCopy) -> bool:
    """Say whether one of these tests fails; the first that does ends the run."""
    with tree.changed(mutant.path, mutant.mutation):
        code = await tree.pytest(
            *("-x", "-n", "0", "-p", "no:cacheprovider", f"--timeout={tier.test_s}", *tests),
            limit_s=tier.limit_s(tests),
        )
    return code not in {PASSED, NOTHING_TO_RUN}


async def examine(mutants: Sequence[Mutant], tier: Tier, covering: CoveringTests, copies: Iterable[TreeCopy]) -> None:
    """Run a tier's tests for each mutant, in all copies at the same time."""
    free = asyncio.Queue[TreeCopy]()
    for each in copies:
        free.put_nowait(each)

    async def examine_one(mutant: Mutant) -> None:
        tree = await free.get()
        tests = covering.of(mutant.path, mutant.mutation)
        if tests and await is_noticed(mutant, tests, tier, tree):
            mutant.noticed_by = tier.name
        mutant.tests[tier.name] = tests
        free.put_nowait(tree)
        progress.advance(bar)
        if not err.is_terminal:
            err.print(
                f"{tier.name} {progress.tasks[bar].completed:.0f}/{len(mutants)} {mutant.place} {verdict(mutant)}"
            )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal) as progress:
        bar = progress.add_task(f"{tier.name} tests", total=len(mutants))
        async with asyncio.TaskGroup() as group:
            for mutant in mutants:
                group.create_task(examine_one(mutant))


def verdict(mutant: Mutant) -> str:
    """Say in a few words what became of a mutant."""
    if mutant.noticed_by:
        return f"is noticed by a test of {mutant.noticed_by}"
    return "SURVIVES" if any(mutant.tests.values()) else "is run by no test"


def which(tests: Iterable[str]) -> str:
    """Say which tests ran: how many of each file."""
    files = Counter(test.partition("::")[0].removeprefix("tests/") for test in tests)
    return ", ".join(f"{count} of {file}" for file, count in files.most_common())


def report(mutants: Sequence[Mutant], tiers: Sequence[Tier]) -> Iterator[str]:
    """Yield the lines of the report: the survivors, those that tests run first, then the shares."""
    survivors = [mutant for mutant in mutants if not mutant.noticed_by]
    for mutant in sorted(survivors, key=lambda each: (not any(each.tests.values()), each.path, each.mutation.line)):
        yield f"{mutant.place}  {mutant.diff}"
        yield from (f"    {name}: {which(tests) or 'no test runs it'}" for name, tests in mutant.tests.items())
    for last in range(1, len(tiers) + 1):
        names = [tier.name for tier in tiers[:last]]
        # After Ctrl-C some have not been tried.
        tried = [mutant for mutant in mutants if mutant.noticed_by in names or names[-1] in mutant.tests]
        alive = [mutant for mutant in tried if mutant.noticed_by not in names]
        unrun = sum(not any(mutant.tests.get(name) for name in names) for mutant in alive)
        share = len(alive) / max(len(tried), 1)
        yield (
            f"{' and '.join(names)}: {len(alive)} of {len(tried)} changes survive, {share:.0%}; "
            f"{unrun} of them in lines that no test runs"
        )
    yield "What only a child process runs is a line that no test runs: see the unit tests of app/engines for those."
