"""The times and sizes of the service that tests change: by their names alone, wherever the service defines them."""

import re
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final, Protocol

import natscribe
import pytest

import app

# Names of different constants in several modules, and names that some modules must not see changed.
MODULES: Final = {
    "DUPLICATE_WINDOW_S": ("natscribe.jetstream.streams",),
    "MIN_EVENT_INTERVAL_S": ("app.tasks.execution.attempt", "natscribe.mock.log"),
    "OUTAGE_PAUSE_S": ("app.tasks.queue.registration", "app.storage.jetstream.lease"),
    "PAGE_SIZE": ("natscribe.jetstream.stream_pages",),
    "READ_WITHIN_S": ("app.requests.deadline",),
    "REPLY_TIMEOUT_S": ("natscribe.client.exchange",),
    "REQUEST_TIMEOUT_S": ("natscribe.jetstream.leader_reads", "app.storage.jetstream.pull_inbox"),
    "STALLED_S": ("app.storage.recordings.https", "app.storage.recordings.s3"),
    "TASK_TTL_S": ("natscribe.jetstream.streams",),
}


class Constants(Protocol):
    """Changes constants until the test ends: ``constants(EXPIRE_EVERY_S=0.1)``."""

    def __call__(self, **values: float | tuple[str, ...]) -> None:
        """Give the constants of these names these values."""


def changed_in(monkeypatch: pytest.MonkeyPatch) -> Constants:
    """Return what changes constants until `monkeypatch` takes its changes back."""

    def change(**values: float | tuple[str, ...]) -> None:
        for name, value in values.items():
            modules = _modules_with(name)
            assert modules, f"no module has the constant {name}"
            for module in modules:
                monkeypatch.setattr(module, name, value)

    return change


@cache
def _modules_with(name: str) -> list[ModuleType]:
    """The modules that define or import a constant."""
    names = MODULES.get(name) or [module for module, text in _sources().items() if re.search(rf"\b{name}\b", text)]
    return [module for module in map(import_module, names) if name in vars(module)]


@cache
def _sources() -> dict[str, str]:
    """The texts of all modules of the service and its client."""
    return {
        ".".join(path.relative_to(folder.parent).with_suffix("").parts): path.read_text(encoding="utf-8")
        for folder in (Path(package.__path__[0]) for package in (app, natscribe))
        for path in folder.rglob("*.py")
        if path.name != "__init__.py"
    }
