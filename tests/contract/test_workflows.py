"""GitHub's workflows are valid, and test every version of Python that is promised."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.document import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").iterdir())
NODE = Path(sys.executable).parent / "node"


@pytest.mark.node
def test_the_linter_accepts_the_workflows() -> None:
    assert lint(*WORKFLOWS) == []


@pytest.mark.node
def test_the_linter_refuses_a_workflow_with_an_unknown_value(tmp_path: Path) -> None:
    # Given a workflow that uses a value of its matrix that there is not
    wrong = tmp_path / "ci.yml"
    wrong.write_text(
        (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8").replace("matrix.python", "matrix.py")
    )
    # Then the linter says so
    (finding,) = lint(wrong)
    assert 'property "py" is not defined' in finding["message"]


def lint(*workflows: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        [NODE, "lint_workflows.mjs", *workflows], cwd=ROOT / "tools/node", check=True, capture_output=True, timeout=60
    )
    findings: list[dict[str, Any]] = json.loads(done.stdout)
    return findings


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_their_commits(workflow: Path) -> None:
    uses = re.findall(r"uses: (.+)", workflow.read_text(encoding="utf-8"))
    assert uses
    assert [
        action for action in uses if not re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)
    ] == []


def test_every_promised_version_of_python_is_tested() -> None:
    # Given the versions with which CI runs everything
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    versions = jobs["test"]["strategy"]["matrix"]["python"]
    assert ".ci/run" in [step.get("run") for step in jobs["test"]["steps"]]
    oldest, newest = versions[0], versions[-1]
    # Then the package allows these and no others
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    after = f"3.{int(newest.partition('.')[2]) + 1}"
    assert project["requires-python"] == f">={oldest},<{after}"
    # And documents say so
    for name, to in {"README.md": " to ", "README.ru.md": "\N{EN DASH}", "CONTRIBUTING.md": " to "}.items():
        assert f"Python {oldest}{to}{newest}" in (ROOT / name).read_text(encoding="utf-8")
