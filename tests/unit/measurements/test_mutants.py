"""The program that finds untested code: what it changes, which tests it runs, and what it reports."""

import ast
from pathlib import Path

import pytest
from coverage import CoverageData

from tools.mutants import covering_tests, trials
from tools.mutants.covering_tests import CoveringTests
from tools.mutants.mutations import Mutation, mutations
from tools.mutants.tree_copy import TIERS

ROOT = Path(__file__).parents[3]


def changed(source: str) -> set[str]:
    return {mutation.applied(source) for mutation in mutations(source)}


@pytest.mark.parametrize(
    ("source", "mutants_of_it"),
    [
        ("a < b", {"a <= b"}),
        ("a == b", {"a != b"}),
        ("a in b", {"a not in b"}),
        ("a is b", {"a is not b"}),
        ("0 <= a < b", {"0 < a < b", "0 <= a <= b"}),
        ("not a", {"a"}),
        ("a if b else c", {"a if not b else c"}),
        ("while a():\n    pass", {"while not a():\n    pass"}),
        ("[a for a in b if c[a]]", {"[a for a in b if not c[a]]"}),
        ("a and b", {"a or b", "not a and b", "a and not b"}),
        ("a == b or not c", {"a == b and not c", "a != b or not c", "a == b or c"}),
        ("a + b", {"a - b"}),
        ("a += b", {"a -= b"}),
        ("-a", {"a"}),
        ("a[1:]", {"a[-1:]"}),
        ("a = 0.5", {"a = -0.5"}),
        ("a + 1", {"a - 1"}),
    ],
)
def test_each_kind_of_change_is_made(source: str, mutants_of_it: set[str]) -> None:
    assert changed(source) == {ast.unparse(ast.parse(mutant)) for mutant in mutants_of_it}


@pytest.mark.parametrize(
    "source",
    [
        "a = 0",
        "a.sum(axis=1)",
        "a = True",
        "a = 3600",
        "a = 'is not -1'",
        "def f(a: int | Literal[-1]) -> Literal[-1]:\n    '''Say whether 1 < 2 and not 2 - 1.'''",
        "a: Annotated[int, Field(ge=1)] = b",
        "A: TypeAlias = Literal[-1, 1]",
        "a = f'{b - c} {1}'",
        "log.info('done', seconds=b - c)",
        "if TYPE_CHECKING:\n    import a",
    ],
)
def test_what_is_a_text_a_type_or_no_small_number_stays(source: str) -> None:
    assert changed(source) == set()


def test_a_mutated_file_can_be_parsed_and_differs_in_one_line() -> None:
    # Given a file of the service
    source = (ROOT / "app/tasks/queue/queue_reader.py").read_text(encoding="utf-8")
    program = ast.unparse(ast.parse(source)).splitlines()
    for mutation in mutations(source):
        # When one node is changed, then one line of the program differs
        mutant = mutation.applied(source).splitlines()
        assert sum(old != new for old, new in zip(program, mutant, strict=True)) == 1


def test_a_change_names_its_line_and_that_of_its_statement() -> None:
    source = "a = 1\nif b:  # comment\n    c = (\n        d  <  e\n    )\n"
    assert [(mutation.line, mutation.statement, mutation.diff) for mutation in mutations(source)] == [
        (1, 1, "`1` becomes `-1`"),
        (2, 2, "`b` becomes `not b`"),
        (4, 3, "`d < e` becomes `d <= e`"),
    ]


def test_a_seed_chooses_the_same_changes_again() -> None:
    # Given all changes of a package
    possible = trials.mutants_of(ROOT, ["app/tasks/queue"])
    # When some are chosen by a seed
    chosen = trials.chosen(possible, 30, seed=7)
    # Then the same seed chooses the same of them, and another seed others
    assert trials.chosen(trials.mutants_of(ROOT, ["app/tasks/queue"]), 30, seed=7) == chosen
    assert trials.chosen(possible, 30, seed=8) != chosen
    # And no more are chosen than there are
    assert len(trials.chosen(possible[:5], 30, seed=7)) == 5


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A record of two tests, one of which fails anyway: what runs at import has no test."""
    lines = CoverageData(str(tmp_path / covering_tests.LINES))
    for context, numbers in (
        ("", [1, 2, 5]),
        ("tests/unit/test_a.py::test_one[1|run]@group|run", [3, 4]),
        ("tests/unit/test_a.py::test_two|setup", [6]),
        ("tests/unit/test_b.py::test_two|setup", [8]),
        ("tests/unit/test_a.py::test_red[x]|run", [3, 6]),
    ):
        lines.set_context(context)
        lines.add_lines({"app/a.py": numbers})
    lines.write()
    failed = tmp_path / covering_tests.FAILED
    failed.parent.mkdir(parents=True)
    failed.write_text('{"tests/unit/test_a.py::test_red[x]@group": true}')
    return tmp_path


@pytest.mark.parametrize(
    ("line", "statement", "tests"),
    [
        (3, 3, ["a.py::test_one"]),
        (6, 6, ["a.py::test_two"]),
        (7, 6, ["a.py::test_two"]),  # a statement of several lines may have run in its first one alone
        (8, 8, ["b.py"]),  # a fixture may have run it for all tests of the file; one of the other file fails anyway
        (9, 9, []),
    ],
)
def test_the_tests_of_a_change_are_those_that_run_its_line(
    record: Path, line: int, statement: int, tests: list[str]
) -> None:
    selected = CoveringTests(record).of("app/a.py", Mutation(0, line, statement, ""))
    assert selected == [f"tests/unit/test_{test}" for test in tests]


def test_what_runs_at_import_concerns_all_that_use_the_module_or_read_each(record: Path) -> None:
    selected = CoveringTests(record).of("app/a.py", Mutation(0, 1, 1, ""))
    uses = ["tests/unit/test_a.py::test_one", "tests/unit/test_a.py::test_two"]
    reads_all = "tests/unit/measurements/test_positive_constants.py"
    assert sorted(selected) == sorted([*uses, "tests/unit/test_b.py", reads_all])
    assert (covering_tests.ROOT / reads_all).exists()


def test_a_file_of_which_no_test_runs_anything_has_no_tests(record: Path) -> None:
    assert CoveringTests(record).of("app/b.py", Mutation(0, 1, 1, "")) == []


def test_the_report_names_survivors_and_their_shares() -> None:
    # Given a change that the unit tests notice, one that the integration tests do, one that none does and one without
    source = "a + b\nc + d\ne + f\ng + h\n"
    first, second, third, fourth = (trials.Mutant("app/a.py", mutation) for mutation in mutations(source))
    first.tests, first.noticed_by = {"unit": ["tests/unit/test_a.py::test_one"]}, "unit"
    second.tests = {"unit": [], "integration": ["tests/integration/test_a.py::test_two"]}
    second.noticed_by = "integration"
    third.tests = {"unit": [], "integration": []}
    fourth.tests = {"unit": ["tests/unit/test_a.py::test_one", "tests/unit/test_a.py::test_four"], "integration": []}
    # Then the report has those that survive, first those that tests run, and their shares
    assert list(trials.report([first, second, third, fourth], TIERS))[:-1] == [
        "app/a.py:4  `g + h` becomes `g - h`",
        "    unit: 2 of unit/test_a.py",
        "    integration: no test runs it",
        "app/a.py:3  `e + f` becomes `e - f`",
        "    unit: no test runs it",
        "    integration: no test runs it",
        "unit: 3 of 4 changes survive, 75%; 2 of them in lines that no test runs",
        "unit and integration: 2 of 4 changes survive, 50%; 1 of them in lines that no test runs",
    ]
