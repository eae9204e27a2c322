"""The command `voices`."""

from datetime import datetime
from unittest.mock import AsyncMock

import pytest
from natscribe.cli import voices
from natscribe.client import Client, RequestFailedError
from natscribe.schemas.errors import ErrorDetail
from natscribe.schemas.problems import invalid_request
from natscribe.schemas.request_errors import no_embeddings
from natscribe.schemas.voices import Consent, Voice
from natscribe.schemas.wire import Model

from tests.unit.cli.conftest import Run


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
    [(no_embeddings("anna-1"), True), (invalid_request("it has 2 speakers: select one as `speaker`"), False)],
    ids=["refused", "a-speaker-can-be-selected"],
)
def test_the_task_of_a_refused_file_is_deleted_unless_a_speaker_of_it_can_be_enrolled(
    run: Run, monkeypatch: pytest.MonkeyPatch, refusal: ErrorDetail, is_deleted: bool
) -> None:
    # Given a file that is diarized, and whose speaker is refused
    monkeypatch.setattr(voices, "_diarize", AsyncMock(return_value="anna-1"))
    monkeypatch.setattr(Client, "enroll_voice", AsyncMock(side_effect=RequestFailedError(refusal)))
    monkeypatch.setattr(Client, "delete", delete := AsyncMock())
    result = run("voices", "enroll", "anna.flac", "--name", "Anna", "--consent-by", "Anna")
    # Then the task is kept if the error says how to enrol one of its speakers
    assert (result.exit_code, "--task-id anna-1" in result.stderr) == (1, not is_deleted)
    assert [call.args for call in delete.await_args_list] == [("anna-1",)] * is_deleted


async def _enrolled(*_: object, name: str, consent: Consent, **__: object) -> Voice:
    model = Model(name="net", revision="1")
    return Voice(voice="0" * 32, name=name, consent=consent, references=[], model=model, comparable=True)
