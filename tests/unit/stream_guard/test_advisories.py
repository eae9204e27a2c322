"""Advisories of JetStream: which client has requested which change."""

import json

import pytest

from app.stream_guard.advisories import StreamChange, read

CLIENT = {"name": "reports", "user": "admin", "host": "10.0.0.7", "lang": "python3"}
DONE = '{"type": "io.nats.jetstream.api.v1.stream_update_response"}'
REFUSED = '{"error": {"code": 500, "err_code": 10052, "description": "can not cancel deny purge"}}'
EXISTS = '{"error": {"code": 400, "err_code": 10058, "description": "stream name already in use"}}'


def advisory(subject: str, *, response: str = DONE, client: object = CLIENT) -> bytes:
    report = {"type": "api_audit", "client": client, "subject": f"$JS.API.{subject}", "response": response}
    return json.dumps(report, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("subject", "resource"),
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
def test_a_change_names_its_resource_and_its_client(subject: str, resource: str) -> None:
    assert read(advisory(subject)) == StreamChange(resource, "reports as admin from 10.0.0.7", refusal=None)


def test_a_refused_change_has_the_reason() -> None:
    change = read(advisory("STREAM.UPDATE.transcription_results", response=REFUSED))
    assert change is not None
    assert change.refusal == "can not cancel deny purge"


@pytest.mark.parametrize(
    "body",
    [
        advisory("STREAM.INFO.transcription_results"),
        advisory("STREAM.MSG.GET.transcription_results"),
        advisory("CONSUMER.CREATE.transcription_results"),  # a consumer whose name the server chooses
        advisory("STREAM.CREATE.transcription_results", response=EXISTS),
        advisory("STREAM.UPDATE.transcription_results", client={"name": "natscribe"}),
        advisory("STREAM.UPDATE.transcription_results", response="no JSON"),
        b'{"subject":"$JS.API.STREAM.UPDATE.transcription_results"',
        b"",
    ],
    ids=["read", "message", "consumer", "exists", "worker", "response", "broken", "empty"],
)
def test_other_advisories_are_ignored(body: bytes) -> None:
    assert read(body) is None


def test_a_hostile_name_fits_into_a_line_of_ascii() -> None:
    change = read(advisory("STREAM.UPDATE.s", client={"name": "\x1b[2J\u2028é" + "x" * 1000}))
    assert change is not None
    assert change.client.isascii()
    assert change.client.isprintable()
    assert len(change.client) < 100


def test_a_client_without_a_name_is_named_by_its_host() -> None:
    change = read(advisory("STREAM.UPDATE.s", client={"host": "10.0.0.7"}))
    assert change is not None
    assert change.client == "a client without a name from 10.0.0.7"
