"""Advisories of JetStream: who has asked for which change."""

import json

import pytest

from app.stream_guard.advisories import Change, read

CLIENT = {"name": "reports", "user": "admin", "host": "10.0.0.7", "lang": "python3"}
DONE = '{"type": "io.nats.jetstream.api.v1.stream_update_response"}'
REFUSED = '{"error": {"code": 500, "err_code": 10052, "description": "can not cancel deny purge"}}'
THERE = '{"error": {"code": 400, "err_code": 10058, "description": "stream name already in use"}}'


def advisory(subject: str, *, response: str = DONE, client: object = CLIENT) -> bytes:
    told = {"type": "api_audit", "client": client, "subject": f"$JS.API.{subject}", "response": response}
    return json.dumps(told, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("subject", "of"),
    [
        ("STREAM.UPDATE.transcription_results", "transcription_results"),
        ("STREAM.DELETE.transcription_results", "transcription_results"),
        ("STREAM.CREATE.transcription_results", "transcription_results"),
        ("CONSUMER.DURABLE.CREATE.transcription_tasks.worker", "worker"),
        ("CONSUMER.CREATE.transcription_tasks.worker.tasks.transcription.high", "worker"),
        ("CONSUMER.DELETE.transcription_tasks.worker", "worker"),
        ("CONSUMER.PAUSE.transcription_tasks.worker", "worker"),
    ],
)
def test_a_change_names_what_was_changed_and_who_has_asked(subject: str, of: str) -> None:
    assert read(advisory(subject)) == Change(of, "reports as admin from 10.0.0.7", refusal=None)


def test_a_refused_change_says_why() -> None:
    found = read(advisory("STREAM.UPDATE.transcription_results", response=REFUSED))
    assert found is not None
    assert found.refusal == "can not cancel deny purge"


@pytest.mark.parametrize(
    "told",
    [
        advisory("STREAM.INFO.transcription_results"),
        advisory("STREAM.MSG.GET.transcription_results"),
        advisory("CONSUMER.CREATE.transcription_results"),  # a consumer whose name the server chooses
        advisory("STREAM.CREATE.transcription_results", response=THERE),
        advisory("STREAM.UPDATE.transcription_results", client={"name": "natscribe"}),
        advisory("STREAM.UPDATE.transcription_results", response="no JSON"),
        b'{"subject":"$JS.API.STREAM.UPDATE.transcription_results"',
        b"",
    ],
    ids=["read", "message", "consumer", "there already", "worker", "response", "broken", "empty"],
)
def test_what_is_no_change_by_a_client_is_nothing(told: bytes) -> None:
    assert read(told) is None


def test_a_hostile_name_fits_into_a_line_of_ascii() -> None:
    found = read(advisory("STREAM.UPDATE.s", client={"name": "\x1b[2J\u2028é" + "x" * 1000}))
    assert found is not None
    assert found.by.isascii()
    assert found.by.isprintable()
    assert len(found.by) < 100


def test_a_client_without_a_name_is_named_by_its_host() -> None:
    found = read(advisory("STREAM.UPDATE.s", client={"host": "10.0.0.7"}))
    assert found is not None
    assert found.by == "a client without a name from 10.0.0.7"
