"""The program that finds untested code runs tests in copies of a tree, in processes of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.mutants.mutations import mutations
from tools.mutants.tree_copy import TOOK_TOO_LONG, TreeCopy

ROOT = Path(__file__).parents[3]


def repository(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)  # noqa: S607
    return folder


async def test_a_copy_runs_tests_with_the_change_and_without_it(tmp_path: Path) -> None:
    # Given a tree with one test
    source = "def more(a, b):\n    return a > b\n"
    test = "import app\n\ndef test_more():\n    assert not app.more(1, 1)\n"
    tree = repository(tmp_path / "tree", {"app/__init__.py": source, "test_more.py": test})
    copy = TreeCopy(tree, tmp_path)
    (mutation,) = mutations(source)
    # When it runs with a change, and without it
    with copy.changed("app/__init__.py", mutation.applied(source)):
        with_it = await copy.pytest("test_more.py")
    without = await copy.pytest("test_more.py")
    # Then it fails only with the change, and the tree is as it was
    assert (with_it, without) == (1, 0)
    assert (tree / "app/__init__.py").read_text(encoding="utf-8") == source


async def test_an_endless_test_is_ended(tmp_path: Path) -> None:
    # Given a test that its change has made endless
    tree = repository(tmp_path / "tree", {"test_endless.py": "def test_endless():\n    while True: pass\n"})
    copy = TreeCopy(tree, tmp_path)
    # Then pytest ends it, and if pytest cannot, it is killed
    assert await copy.pytest("--timeout=0.2", "test_endless.py") == 1
    assert await copy.pytest("--timeout=0", "test_endless.py", limit_s=3) == TOOK_TOO_LONG


@pytest.mark.parametrize("wrong", [["0"], ["many"], ["5", "--jobs=0"], ["5", "app/nothing"], ["5", "--tier=smoke"]])
def test_wrong_options_are_usage_errors(wrong: list[str]) -> None:
    ended = subprocess.run([sys.executable, "-m", "tools.mutants", *wrong], cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == 2, ended.stderr
