"""The command `list`."""

import re
from datetime import datetime
from unittest.mock import AsyncMock

import pytest
from natscribe.cli.console import Terminal
from natscribe.client import Client
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import State
from natscribe.schemas.task_list import ListedTask, TaskPage

from tests.unit.cli.conftest import Lines, Run
from tests.unit.messages import listed_task

RUNNING = listed_task(
    task_id="meeting-4619fe73",
    user_id="anna",
    audio_file_id="meeting-4619fe73-meeting.m4a",
    duration_seconds=3723,
    progress=42,
)
ERROR = ErrorDetail(code=ErrorCode.FORMAT_UNAVAILABLE, message="No.")
FAILED = RUNNING.model_copy(update={"task_id": "x" * 64, "user_id": "u" * 64, "state": State.FAILED, "error": ERROR})


@pytest.fixture
def tasks(no_server: None, monkeypatch: pytest.MonkeyPatch) -> AsyncMock:
    """The replies to the client: two pages, with one task each."""
    pages = [TaskPage(tasks=[RUNNING], more_before="1-meeting"), TaskPage(tasks=[FAILED])]
    requests = AsyncMock(side_effect=pages)
    monkeypatch.setattr(Client, "tasks", requests)
    return requests


def test_a_terminal_shows_columns_with_whole_ids(tasks: AsyncMock, lines: Lines, terminal: Terminal) -> None:
    # Given a wide terminal, and a task with the longest id
    terminal.width = 190
    # When the tasks are listed
    header, running, failed, name = lines("list", "--user", "7", "--state", "running")
    # Then each has a line with its length, its recording, and its whole id at the end
    assert header.split() == ["created", "state", "kind", "user", "length", "recording", "error", "task"]
    assert "running 42 %" in running
    assert running.split()[-3:] == ["1:02:03", "meeting.m4a", "meeting-4619fe73"]
    assert failed.split()[-2:] == ["format_unavailable", FAILED.task_id]
    assert header.index("task") == running.index("meeting-4619fe73") == failed.index("x" * 64)
    assert f" {'u' * 11}…  " in failed
    # And a long name of a recording goes on in the next line
    assert "  meeting-4619fe73-mee  " in failed
    assert name.strip() == "ting.m4a"
    # And all pages were requested
    assert [call.kwargs["before"] for call in tasks.await_args_list] == [None, "1-meeting"]
    assert {(call.kwargs["user_id"], call.kwargs["state"]) for call in tasks.await_args_list} == {(7, State.RUNNING)}


@pytest.mark.usefixtures("terminal")
def test_a_narrow_terminal_omits_the_optional_columns(tasks: AsyncMock, lines: Lines) -> None:
    tasks.side_effect = [TaskPage(tasks=[RUNNING])]
    header, running = lines("list")
    assert header.split() == ["created", "state", "user", "length", "recording", "task"]
    assert running.endswith("  meeting-4619fe73")
    assert len(running) <= 80


@pytest.mark.usefixtures("tasks")
def test_plain_output_has_titles_and_one_task_per_line(lines: Lines) -> None:
    titles, *tasks = [re.split(" {2,}", line.rstrip()) for line in lines("list")]
    assert titles == ["created", "state", "kind", "user", "length", "recording", "error", "task"]
    failed = ["failed", "transcription", "u" * 64, "1:02:03", "meeting-4619fe73-meeting.m4a", "format_unavailable"]
    assert [cells[1:] for cells in tasks] == [
        ["running 42 %", "transcription", "anna", "1:02:03", "meeting.m4a", "meeting-4619fe73"],
        [*failed, "x" * 64],
    ]


def test_a_live_task_has_a_lag_in_place_of_a_percentage(tasks: AsyncMock, run: Run) -> None:
    tasks.side_effect = [TaskPage(tasks=[RUNNING.model_copy(update={"lag_seconds": 12.5})])]
    assert "  running live, 0:12 behind  " in run("list").stdout


def test_a_scheduled_task_has_its_time(tasks: AsyncMock, run: Run) -> None:
    scheduled = {"state": State.SCHEDULED, "not_before": datetime(2026, 12, 1, 9).astimezone()}
    tasks.side_effect = [TaskPage(tasks=[RUNNING.model_copy(update=scheduled)])]
    assert "  scheduled for 2026-12-01 09:00  " in run("list").stdout


def test_the_limit_holds_across_pages(tasks: AsyncMock, lines: Lines) -> None:
    messages = lines("list", "--limit", "1", "--json")
    assert [ListedTask.model_validate_json(message) for message in messages] == [RUNNING]
    assert tasks.await_count == 1


@pytest.mark.parametrize(("limit", "hint"), [("1", "Older tasks are not shown: --limit 5 shows more"), ("2", "")])
@pytest.mark.usefixtures("tasks")
def test_older_tasks_are_mentioned_beside_the_list(run: Run, limit: str, hint: str) -> None:
    assert run("list", "--limit", limit).stderr.partition(",")[0].strip() == hint


def test_an_empty_list_is_reported(tasks: AsyncMock, run: Run) -> None:
    tasks.side_effect = [TaskPage(tasks=[])]
    assert run("list", "--user", "anna").stderr == "There are no such tasks.\n"
