"""Builds a later version of the service from the working tree.

Each message and each record has one more field, which is always written, and the stage `transcribing` has another
value.
"""

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIELD = """
    newer: str = Field("newer", description="A field of a later version.")

    def model_post_init(self, _: object) -> None:
        self.__pydantic_fields_set__.add("newer")
"""
NEWER = f'''"""The field that a later version has."""

from pydantic import BaseModel, Field


class Newer(BaseModel):
    """Has a field of a later version."""
{FIELD}'''
RECORDS = (  # files with records that are neither a Message nor an Input
    "app/tasks/task_log/record.py",
    "app/tasks/retention/reminders.py",
    "app/speech/voices/store.py",
    "app/speech/recordings/cache.py",
    "app/engines/messages.py",
)


def build(folder: Path) -> Path:
    """Build the later version in a folder, and return the folder."""
    for name in ("app", "handlers", "tests/fakes", "tests/versions", "schemas"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "clients/python/natscribe", folder / "natscribe", ignore=_sources_alone)
    (folder / "natscribe/schemas").symlink_to(folder / "schemas")
    for name in ("tests/__init__.py", "tests/waiting.py"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "schemas/newer.py").write_text(NEWER, encoding="utf-8")
    _change(
        folder / "schemas/wire.py", r"(class (?:Message|Input)\(BaseModel\):\n    \"\"\".*?\"\"\"\n)", rf"\1{FIELD}"
    )
    _change(folder / "schemas/progress.py", 'TRANSCRIBING = "transcribing"', 'TRANSCRIBING = "writing"')
    for name in RECORDS:
        _change(folder / name, r"\(BaseModel\):", "(Newer):")
        _change(
            folder / name,
            r"(?m)^from pydantic import",
            "from natscribe.schemas.newer import Newer\nfrom pydantic import",
        )
    return folder


def _sources_alone(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__" or Path(folder, name).is_symlink()]


def _change(file: Path, pattern: str, new: str) -> None:
    text, count = re.subn(pattern, new, file.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert count, f"{file} has no {pattern}"
    file.write_text(text, encoding="utf-8")
