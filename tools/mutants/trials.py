"""Tries mutants of the service, and reports what survives."""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .covering_tests import CoveringTests
from .mutations import Mutation, mutations
from .tree_copy import NOTHING_RAN, PASSED, Tier, TreeCopy

CODE = ("app", "handlers")


@dataclass
class Mutant:
    """A mutation of a file, the tests of each tier that ran, and the tier that noticed it."""

    path: str
    mutation: Mutation
    tests: dict[str, list[str]] = field(default_factory=dict)
    noticed_by: str | None = None

    def __str__(self) -> str:
        """Where it is, as editors understand it, and what it changes."""
        return f"{self.path}:{self.mutation.line}  {self.mutation.diff}"


def mutants_of(tree: Path, only: Sequence[str] = CODE) -> list[Mutant]:
    """Return all mutants of the files and folders `only`, in their order."""
    files = sorted(file for name in only for file in [tree / name, *(tree / name).rglob("*.py")] if file.is_file())
    return [
        Mutant(file.relative_to(tree).as_posix(), mutation)
        for file in files
        for mutation in mutations(file.read_text(encoding="utf-8"))
    ]


def chosen(possible: Sequence[Mutant], number: int, seed: int) -> list[Mutant]:
    """Choose some mutants at random, by a seed."""
    return random.Random(seed).sample(possible, min(number, len(possible)))  # noqa: S311


async def is_noticed(mutant: Mutant, tests: Sequence[str], tier: Tier, tree: TreeCopy) -> bool:
    """Say whether one of these tests fails; the first that does ends the run."""
    source = (tree.folder / mutant.path).read_text(encoding="utf-8")
    with tree.changed(mutant.path, mutant.mutation.applied(source)):
        code = await tree.pytest(
            *("-x", "-n", "0", "-p", "no:cacheprovider", f"--timeout={tier.test_s}", *tests),
            limit_s=tier.limit_s(tests),
        )
    return code not in {PASSED, NOTHING_RAN}


async def examine(mutants: Sequence[Mutant], tier: Tier, covering: CoveringTests, copies: Sequence[TreeCopy]) -> None:
    """Run a tier's tests for each mutant, in all copies at the same time."""
    waiting = iter(list(enumerate(mutants, start=1)))

    async def examine_in(tree: TreeCopy) -> None:
        for number, mutant in waiting:
            tests = covering.of(mutant.path, mutant.mutation)
            noticed = bool(tests) and await is_noticed(mutant, tests, tier, tree)
            mutant.noticed_by = tier.name if noticed else None
            mutant.tests[tier.name] = tests
            verdict = "noticed" if noticed else "SURVIVES" if tests else "no test runs it"
            print(f"{tier.name} {number}/{len(mutants)} {mutant}: {verdict}", file=sys.stderr)

    async with asyncio.TaskGroup() as group:
        for tree in copies:
            group.create_task(examine_in(tree))


def report(mutants: Sequence[Mutant], tiers: Sequence[Tier]) -> Iterator[str]:
    """Yield the lines of the report: the survivors, those that tests run first, then the shares."""
    survivors = [mutant for mutant in mutants if not mutant.noticed_by]
    for mutant in sorted(survivors, key=lambda mutant: (not any(mutant.tests.values()), str(mutant))):
        yield str(mutant)
        for name, tests in mutant.tests.items():
            files = Counter(test.partition("::")[0].removeprefix("tests/") for test in tests)
            ran = ", ".join(f"{count} of {file}" for file, count in files.most_common())
            yield f"    {name}: {ran or 'no test runs it'}"
    for last in range(1, len(tiers) + 1):
        yield _share(mutants, [tier.name for tier in tiers[:last]])
    yield "A line that only a child process runs counts as one that no test runs: see the unit tests of app/engines."


def _share(mutants: Sequence[Mutant], names: Sequence[str]) -> str:
    """Return the line of the report about the mutants that survive the tiers with these names."""
    # After Ctrl-C some have not been tried.
    tried = [mutant for mutant in mutants if mutant.noticed_by in names or names[-1] in mutant.tests]
    alive = [mutant for mutant in tried if mutant.noticed_by not in names]
    not_run = sum(not any(mutant.tests.get(name) for name in names) for mutant in alive)
    share = len(alive) / max(len(tried), 1)
    return (
        f"{' and '.join(names)}: {len(alive)} of {len(tried)} changes survive, {share:.0%}; "
        f"{not_run} of them in lines that no test runs"
    )
