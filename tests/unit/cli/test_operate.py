"""The commands `queue` and `dead-letters`."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from unittest.mock import AsyncMock

import pytest
from natscribe.cli.console import Terminal
from natscribe.client import Client
from natscribe.schemas.dead_letters import BodyEncoding, DeadLetter
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.task_queues import QueueOverview, UserLoad
from natscribe.schemas.wire import Kind

from tests.unit.cli.conftest import Lines, Run
from tests.unit.messages import queue_overview

WIDTH = 70
DEAD_LETTER = DeadLetter(
    task_id="meeting-4619fe73",
    kind=Kind.TRANSCRIPTION,
    subject="tasks.transcription.normal",
    body="{}",
    body_encoding=BodyEncoding.UTF_8,
    body_truncated=False,
    headers={},
    error=ErrorDetail(code=ErrorCode.AUDIO_NOT_FOUND, message="No recording is there:\x1b upload it, then publish."),
    attempts=1,
    stream_sequence=7,
    time=datetime(2026, 11, 24, 12, tzinfo=UTC),
)
LONG = DEAD_LETTER.model_copy(update={"task_id": "x" * 64})
WITHOUT_ID = DEAD_LETTER.model_copy(update={"task_id": None})


@pytest.fixture
def queue(no_server: None, monkeypatch: pytest.MonkeyPatch) -> QueueOverview:
    """Long queues, whose tasks wait for long."""
    old = datetime.now(UTC) - timedelta(hours=99)
    overview = queue_overview(3, waiting=9_999_999, running=9_999_999, oldest=old)
    monkeypatch.setattr(Client, "queue", AsyncMock(return_value=overview))
    return overview


@pytest.fixture
def dead_letters(no_server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dead letters: with a short id, with a long id and without an id."""

    async def listed(_: object) -> AsyncIterator[DeadLetter]:
        for dead_letter in (DEAD_LETTER, LONG, WITHOUT_ID):
            yield dead_letter

    monkeypatch.setattr(Client, "dead_letters", listed)


def test_each_queue_is_one_row_of_a_narrow_terminal(queue: QueueOverview, lines: Lines, terminal: Terminal) -> None:
    # When long queues are shown on a narrow terminal
    terminal.width = WIDTH
    header, *rows, letters, why, delete = lines("queue")
    # Then each is one row below its headers
    assert header.split() == ["priority", "queue", "waiting", "running", "oldest"]
    assert len(rows) == len(queue.queues)
    for row in rows:
        assert len(row) <= WIDTH
        assert "99:00:0" in row
        assert row.index("9999999") + 7 == header.index("waiting") + 7
    # And the next steps follow
    assert letters == "dead letters: 3"
    assert why == "  natscribe dead-letters list    shows why"
    assert delete.startswith("  natscribe dead-letters delete --code CODE ")


def test_empty_queues_are_omitted(
    queue: QueueOverview, lines: Lines, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given one busy queue of nine, and nothing that has failed
    first, *others = queue.queues
    empty = [other.model_copy(update={"waiting": 0, "running": 0, "oldest": None}) for other in others]
    overview = QueueOverview(queues=[first, *empty], dead_letters=0)
    monkeypatch.setattr(Client, "queue", AsyncMock(return_value=overview))
    # Then it alone is shown
    _, line = lines("queue")
    assert line.split()[:4] == ["high", "transcription", "9999999", "9999999"]
    # And scheduled tasks are counted, even if no others are there
    scheduled = [queue.model_copy(update={"scheduled": 2}) for queue in empty[:2]]
    monkeypatch.setattr(Client, "queue", AsyncMock(return_value=QueueOverview(queues=scheduled, dead_letters=0)))
    assert lines("queue") == ["scheduled: 4"]
    # And if it is empty as well, then there is one sentence
    monkeypatch.setattr(Client, "queue", AsyncMock(return_value=QueueOverview(queues=empty, dead_letters=0)))
    assert run("queue").stderr == "No tasks are waiting or running, and no dead letters are stored.\n"


def test_users_follow_the_queues(queue: QueueOverview, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given the loads of a user, and of messages without a user
    users = [
        UserLoad(user_id="анна", waiting=12, running=1, waiting_seconds=5400),
        UserLoad(user_id=None, waiting=0, running=1, waiting_seconds=0),
    ]
    overview = queue.model_copy(update={"users": users, "dead_letters": 0})
    monkeypatch.setattr(Client, "queue", AsyncMock(return_value=overview))
    # Then each is a line after the queues
    assert [line.split() for line in lines("queue")[1 + len(queue.queues) :]] == [
        ["user", "waiting", "running", "audio"],
        ["анна", "12", "1", "1:30:00"],
        ["(none)", "0", "1", "0:00"],
    ]


@pytest.mark.usefixtures("queue")
def test_plain_output_has_one_queue_per_line(lines: Lines) -> None:
    titles, first, *_, letters, _, _ = lines("queue")
    assert titles.split() == ["priority", "queue", "waiting", "running", "oldest"]
    assert first.split()[:-1] == ["high", "transcription", "9999999", "9999999"]
    assert letters == "dead letters: 3"


def test_programs_read_the_whole_overview(queue: QueueOverview, lines: Lines) -> None:
    assert [QueueOverview.model_validate_json(line) for line in lines("queue", "--json")] == [queue]


@pytest.mark.usefixtures("terminal", "dead_letters")
def test_dead_letters_are_a_table_with_whole_ids_and_reasons(lines: Lines) -> None:
    titles, *table = lines("dead-letters", "list")
    assert titles.split() == ["failed", "task", "error"]
    assert max(map(len, table)) <= 80
    # Each cell is whole, and a long one goes on in the next line
    task, error = titles.index("task"), titles.index("error")
    tasks = "".join(line[task:error].strip() for line in table)
    assert tasks == f"meeting-4619fe73{'x' * 64}(no task id)"
    errors = " ".join(line[error:].strip() for line in table)
    assert errors.replace("  ", " ").count(r"audio_not_found: No recording is there:\x1b upload it, then publish.") == 3


@pytest.mark.usefixtures("dead_letters")
def test_plain_output_has_one_dead_letter_per_line(lines: Lines) -> None:
    titles, *letters = [re.split(" {2,}", line.rstrip(), maxsplit=3) for line in lines("dead-letters", "list")]
    assert titles == ["failed", "kind", "task", "error"]
    assert ["  ".join(cells[1:]) for cells in letters] == [
        rf"transcription  {task}  audio_not_found: No recording is there:\x1b upload it, then publish."
        for task in ("meeting-4619fe73", "x" * 64, "(no task id)")
    ]


@pytest.mark.usefixtures("dead_letters")
def test_json_output_has_the_messages(lines: Lines) -> None:
    messages = lines("dead-letters", "list", "--json")
    assert [DeadLetter.model_validate_json(message) for message in messages] == [DEAD_LETTER, LONG, WITHOUT_ID]
