"""The user of a task message is read even if the message is not valid."""

from datetime import UTC, datetime

import pytest
from natscribe.jetstream.task_messages import TaskMessage, parse_json_leniently

from tests.integration.hostile import surprises


def message(body: bytes) -> TaskMessage:
    return TaskMessage("tasks.transcription.normal", 1, datetime.now(UTC), {}, body)


@pytest.mark.parametrize("number", range(len(surprises(""))))
def test_the_id_is_read_beside_whatever_surprises_a_parser(number: int) -> None:
    assert message(surprises("t1")[number]).task_id == "t1"


@pytest.mark.parametrize(
    ("written", "read"),
    [("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)), ("-1", -1), ("1.5", 1.5)],
)
def test_an_id_is_read_as_it_is(written: str, read: float) -> None:
    assert parse_json_leniently(written.encode()) == read


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("digits", [20, 21, 22, 40, 5000])
def test_an_integer_that_is_too_long_is_no_task_id(sign: str, digits: int) -> None:
    parsed = parse_json_leniently(f"{sign}{'9' * digits}".encode())
    assert not -(2**63) <= parsed < 2**63


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_the_id_of_a_message_in_another_encoding_is_read(encoding: str) -> None:
    read_message = message('{"task_id":"t1","audio_file_id":"a","user_id":1}'.encode(encoding))
    assert (read_message.task_id, read_message.task) == ("t1", None)
