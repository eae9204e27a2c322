"""The model of the task protocol names functions that exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "docs" / "protocol" / "tasks.pml"
NAMED = re.compile(r"((?:app|handlers)/[\w/]+\.py)((?:,? [\w.]*\w(?=[,:;* ]))+)")


def functions_of(module: Path) -> set[str]:
    """The functions, classes and methods of a module."""
    names = set[str]()
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}.{member.name}"
                for member in node.body
                if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return names


def test_the_model_of_the_protocol_names_functions_that_exist() -> None:
    # When the comments of the model are read
    named = [
        (path, names.replace(",", " ").split()) for path, names in NAMED.findall(MODEL.read_text(encoding="utf-8"))
    ]
    # Then they name functions
    assert len(named) > 30
    # And each of them exists
    missing = [
        f"{path} {name}"
        for path, names in named
        for name in names
        if not (ROOT / path).exists() or name not in functions_of(ROOT / path)
    ]
    assert missing == []
