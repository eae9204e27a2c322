"""The registry of channels is consistent, and the permissions of NATS are written from it."""

from dataclasses import replace

import pytest
from natscribe.schemas.channels import PROGRESS, STATUS, Channel, Role

from app.storage.jetstream.channels import CHANNELS
from tests.document import ROOT
from tools.accounts import checks
from tools.accounts.checks import problems
from tools.accounts.configuration import configuration
from tools.accounts.tables import with_tables


def test_the_permissions_are_up_to_date() -> None:
    written = (ROOT / "deploy/nats/accounts.conf").read_text(encoding="utf-8")
    document = (ROOT / "docs/access.md").read_text(encoding="utf-8")
    assert written == configuration(), "run: make spec"
    assert document == with_tables(document), "run: make spec"


def test_the_registry_has_no_problem() -> None:
    assert list(problems(CHANNELS)) == []


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (
            replace(STATUS, name="more", subject="tasks.more", publishers=(), subscribers=()),
            "more: no role uses tasks.more: write `publishers` or `subscribers` in its entry.",
        ),
        (
            replace(PROGRESS, name="more", subject="more.{task_id}", stream="more"),
            "more: there is no stream `more`: write it in StreamNames and stream_configs().",
        ),
        (
            replace(PROGRESS, name="more", subject="more.{task_id}"),
            "more: transcription_progress does not store more.{task_id}: write it in the stream's subjects.",
        ),
        (
            replace(STATUS, name="more", subject="tasks.{what}"),
            "statusRequests and more: tasks.status and tasks.{what} overlap: write another subject in one.",
        ),
        (
            replace(STATUS, name="more"),
            "statusRequests and more: tasks.status and tasks.status overlap: write another subject in one.",
        ),
        (
            replace(PROGRESS, name="more", subject="progress.{id}"),
            "progress and more: progress.{task_id} and progress.{id} overlap: write another subject in one.",
        ),
        (
            replace(STATUS, subject="tasks.more"),
            "tasks.status and tasks.more have the same name statusRequests: write another one in one of them.",
        ),
    ],
)
def test_an_entry_that_does_not_fit_is_named_with_what_to_write(entry: Channel, problem: str) -> None:
    assert problem in list(problems([*CHANNELS, entry]))


def test_a_role_without_a_user_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "USERS", {Role.SERVICE, Role.PUBLISHER, Role.FOLLOWER})
    (first, *_) = problems([STATUS])
    assert first == "statusRequests: accounts.conf has no user operator: write one in tools/accounts/configuration.py."
