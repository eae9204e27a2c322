"""The command `voices`."""

from collections.abc import AsyncIterator
from datetime import datetime
from unittest.mock import AsyncMock

import pytest
from natscribe.cli import voices
from natscribe.client import Client, RequestFailedError, UnreachableError
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.problems import invalid_request
from natscribe.schemas.request_errors import no_embeddings
from natscribe.schemas.voices import Consent, Voice
from natscribe.schemas.wire import Model

from tests.unit.cli.conftest import Run

BUSY = ErrorDetail(code=ErrorCode.INTERNAL, message="Too many requests wait: try again in a moment.")


@pytest.mark.usefixtures("no_server")
def test_a_task_without_voices_is_reported_in_terms_of_the_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "enroll_voice", AsyncMock(side_effect=RequestFailedError(no_embeddings("t1"))))
    result = run("voices", "enroll", "--task-id", "t1", "--name", "Anna", "--consent-by", "Anna")
    assert (result.exit_code, "give FILE without --task-id" in result.stderr) == (1, True)
    assert "identify: true" not in result.stderr


@pytest.mark.usefixtures("no_server")
@pytest.mark.parametrize("moment", ["2026-11-05", "2026-11-05T14:30:00"])
def test_the_time_of_a_consent_is_local(run: Run, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    # When a person is enrolled who has consented at a certain time
    enroll = AsyncMock(side_effect=_enrolled)
    monkeypatch.setattr(Client, "enroll_voice", enroll)
    who = ("--task-id", "t1", "--name", "Anna", "--consent-by", "Anna")
    result = run("voices", "enroll", *who, "--consent-at", moment)
    # Then the request has this time, and the command reports what it has done
    assert enroll.await_args is not None
    assert enroll.await_args.kwargs["consent"].at == datetime.fromisoformat(moment).astimezone()
    assert result.stdout == f"enrolled: {'0' * 32} Anna\n"
    # And the help has an example of such a time
    assert "as 2026-11-05 or 2026-11-05T14:30:00" in " ".join(run("voices", "enroll", "--help").stdout.split())


def test_a_consent_that_is_not_given_yet_is_refused_before_the_recording_is_diarized(run: Run) -> None:
    result = run("voices", "enroll", "no.flac", "--name", "A", "--consent-by", "A", "--consent-at", "2999-01-01")
    assert (result.exit_code, "--consent-at is in the future" in result.stderr) == (2, True)


@pytest.mark.usefixtures("no_server")
@pytest.mark.parametrize(
    ("refusal", "is_deleted"),
    [
        (no_embeddings("anna-1"), True),
        (invalid_request("the speaker has less than 15 s of speech alone"), True),
        (invalid_request("it has 2 speakers: select one as `speaker`"), False),
        (BUSY, False),
    ],
    ids=["no-embeddings", "too-short", "a-speaker-can-be-selected", "busy"],
)
def test_the_task_of_a_refused_file_is_deleted_unless_a_speaker_of_it_can_be_enrolled(
    run: Run, monkeypatch: pytest.MonkeyPatch, refusal: ErrorDetail, is_deleted: bool
) -> None:
    # Given a file that is diarized, and whose speaker is refused
    monkeypatch.setattr(voices, "_diarize", AsyncMock(return_value="anna-1"))
    monkeypatch.setattr(Client, "enroll_voice", AsyncMock(side_effect=RequestFailedError(refusal)))
    monkeypatch.setattr(Client, "voices", lambda *_: _no_voices())
    monkeypatch.setattr(Client, "delete", delete := AsyncMock())
    result = run("voices", "enroll", "anna.flac", "--name", "Anna", "--consent-by", "Anna")
    # Then the task is kept if the error says how to enrol one of its speakers
    assert (result.exit_code, "--task-id anna-1" in result.stderr) == (1, not is_deleted)
    assert [call.args for call in delete.await_args_list] == [("anna-1",)] * is_deleted


@pytest.mark.usefixtures("no_server")
def test_a_refusal_is_reported_even_if_its_task_cannot_be_deleted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "_diarize", AsyncMock(return_value="anna-1"))
    monkeypatch.setattr(
        Client, "enroll_voice", AsyncMock(side_effect=RequestFailedError(invalid_request("the name is too long")))
    )
    monkeypatch.setattr(Client, "voices", lambda *_: _no_voices())
    monkeypatch.setattr(Client, "delete", AsyncMock(side_effect=UnreachableError("No worker answers.")))
    result = run("voices", "enroll", "anna.flac", "--name", "Anna", "--consent-by", "Anna")
    assert (result.exit_code, "the name is too long" in result.stderr) == (1, True)
    assert "No worker answers" not in result.stderr


@pytest.mark.usefixtures("no_server")
def test_a_failed_enrolment_of_a_task_is_reported_unchanged(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "enroll_voice", AsyncMock(side_effect=RequestFailedError(BUSY)))
    monkeypatch.setattr(Client, "voices", lambda *_: _no_voices())
    result = run("voices", "enroll", "--task-id", "t1", "--name", "Anna", "--consent-by", "Anna")
    assert (result.exit_code, result.stderr) == (1, f"{BUSY.message}\n")


async def _no_voices() -> AsyncIterator[Voice]:
    for voice in list[Voice]():
        yield voice


async def _enrolled(*_: object, name: str, consent: Consent, **__: object) -> Voice:
    model = Model(name="net", revision="1")
    return Voice(voice="0" * 32, name=name, consent=consent, references=[], model=model, comparable=True)
