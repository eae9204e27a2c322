"""The dashboard of `natscribe top`, and how it is rendered."""

from datetime import timedelta
from io import StringIO

import pytest
from natscribe.cli.console import ERROR, WARNING
from natscribe.cli.top.dashboard import MAX_FAILURES, MAX_RUNNING, Dashboard
from natscribe.cli.top.layout import render
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import ProgressEvent, Stage, State
from natscribe.schemas.task_list import ListedTask, TaskPage
from natscribe.schemas.task_queues import UserLoad
from rich.console import Console

from tests.unit.cli.conftest import Run
from tests.unit.messages import NOON, listed_task, progress_event, queue_overview

GONE = ErrorDetail(code=ErrorCode.AUDIO_NOT_FOUND, message="No recording is named 'meeting.flac': upload it.")
DIED = ErrorDetail(code=ErrorCode.WORKER_LOST, message="The worker died: start another one.")


def event(task_id: str, state: State = State.RUNNING, **fields: object) -> ProgressEvent:
    return progress_event(**{"task_id": task_id, "state": state, "worker": "gpu-1-4711-9f3c"} | fields)


def listed(task_id: str, **fields: object) -> ListedTask:
    return listed_task(task_id=task_id, progress=40, **fields)


def dashboard_of(*events: ProgressEvent) -> Dashboard:
    """A dashboard that has counted since noon, and received these events at once."""
    dashboard = Dashboard(since=NOON)
    for event in events:
        dashboard.apply(event, 0)
    return dashboard


def drawn(dashboard: Dashboard, *, width: int, height: int, now: float = 0) -> list[str]:
    console = Console(file=StringIO(), width=width, height=height)
    with console.capture() as captured:
        console.print(render(dashboard, "nats://localhost:4222", width=width, height=height, now=now))
    return captured.get().splitlines()


def busy() -> Dashboard:
    """A dashboard with more of everything than a screen has lines."""
    fields = {"stage": Stage.TRANSCRIBING, "attempt": 2, "duration_seconds": 36_000, "eta_seconds": 35_999}
    names = {number: f"weekly-meeting-of-the-team-{number}-ab12cd34" for number in range(100)}
    running = [event(name, State.RUNNING, progress=number, **fields) for number, name in names.items()]
    dashboard = dashboard_of(*running, *(event(f"gone-{number}", State.FAILED, error=GONE) for number in names))
    oldest = NOON - timedelta(hours=99)
    dashboard.queue = queue_overview(dead_letters=9999, waiting=99_999, running=999, oldest=oldest)
    dashboard.problems["list"] = (
        "NATS does not allow the user 'other' to send requests to tasks.list: log in as another."
    )
    return dashboard


def test_only_running_tasks_and_the_latest_failures_are_stored() -> None:
    # Given ten thousand tasks
    dashboard = Dashboard()
    for number in range(10_000):
        task_id = f"t{number}"
        dashboard.apply(event(task_id, State.QUEUED, worker=None), 0)
        dashboard.apply(event(task_id), 1)
        # When most of them end, in different ways
        if number % 4:
            end = [State.COMPLETED, State.FAILED, State.CANCELLED][number % 4 - 1]
            dashboard.apply(event(task_id, end, error=DIED if end is State.FAILED else None), 2)
    # Then no more is stored than can be shown, and the rest is counted
    assert len(dashboard.running) == MAX_RUNNING
    assert [failure.task_id for failure in dashboard.failures] == [f"t{9998 - 4 * n}" for n in range(MAX_FAILURES)]
    assert dashboard.ended == {State.COMPLETED: 2500, State.FAILED: 2500, State.CANCELLED: 2500}


def test_a_retried_task_is_not_shown_as_running() -> None:
    dashboard = dashboard_of(event("t1"), event("t1", State.RETRYING, error=GONE, worker=None))
    assert dashboard.running == {}
    assert [(failure.task_id, failure.final) for failure in dashboard.failures] == [("t1", False)]
    assert dashboard.ended == {}


def test_the_list_corrects_for_lost_events() -> None:
    # Given a task whose end was lost in an outage, one that has just started, and one that runs
    dashboard = dashboard_of(event("ended"), event("runs"))
    dashboard.apply(event("new"), 29)
    # When the list arrives, which is a moment old
    dashboard.reconcile(TaskPage(tasks=[listed("runs"), listed("unknown")]), requested_at=30, now=30.1)
    # Then the dashboard agrees with the list
    assert list(dashboard.running) == ["runs", "new", "unknown"]
    assert dashboard.running["runs"].recording == "meeting.flac"
    assert dashboard.running["runs"].worker == "gpu-1-4711-9f3c"
    assert dashboard.running["unknown"].latest.progress == 40


def test_an_incomplete_list_removes_only_tasks_that_are_silent_for_long() -> None:
    dashboard = dashboard_of(event("silent"))
    dashboard.apply(event("runs"), 50)
    some = TaskPage(tasks=[listed("another")], more_before="1795595445000000000112-another")
    dashboard.reconcile(some, requested_at=70, now=70)
    assert list(dashboard.running) == ["runs", "another"]


def test_earlier_failures_follow_those_of_events() -> None:
    dashboard = dashboard_of(event("event", State.FAILED, error=GONE))
    dashboard.add_failed(TaskPage(tasks=[listed(name, state=State.FAILED, error=GONE) for name in ("event", "before")]))
    assert [failure.task_id for failure in dashboard.failures] == ["event", "before"]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60), (66, 20)])
def test_everything_fits_the_screen(width: int, height: int) -> None:
    lines = drawn(busy(), width=width, height=height)
    assert len(lines) <= height
    assert max(len(line) for line in lines) <= width
    # And no room is wasted, the parts are distinct, and so are tasks whose names start alike
    assert len(lines) >= height - 1
    text = "\n".join(lines)
    for title in ("waiting", "running", "failed", "9999 dead letters stored"):
        assert title in text
    assert "transcribing" in text
    assert f"and {999 * 9 - sum('transcribing' in line for line in lines)} more running" in text


def test_hostile_names_neither_break_the_screen_nor_command_the_terminal() -> None:
    # Given a worker, a recording and an error that would do so
    hostile = "[/bold]\x1b[2J\n:smile:\r"
    gone = GONE.model_copy(update={"message": hostile})
    dashboard = dashboard_of(event("t1", worker=hostile), event("t2", State.FAILED, error=gone))
    dashboard.reconcile(TaskPage(tasks=[listed("t1").model_copy(update={"audio_file_id": hostile})]), 1, 1)
    dashboard.problems["list"] = hostile
    # When they are shown
    lines = drawn(dashboard, width=160, height=24)
    # Then they are as they are, but for what a terminal would obey
    assert len(lines) == 6
    assert sum(r"[/bold]\x1b[2J\n:smile:" in line for line in lines) == 3
    assert [line for line in lines if not line.isprintable()] == []


@pytest.mark.parametrize(("count", "shown"), [(1, 0), (2, 2), (20, 5)])
def test_the_users_with_the_most_waiting_audio_are_shown_if_there_are_several(count: int, shown: int) -> None:
    dashboard = busy()
    load = UserLoad(user_id=7, waiting=9, running=1, waiting_seconds=99)
    users = [load.model_copy(update={"user_id": f"user-{number}"}) for number in range(count)]
    dashboard.queue = dashboard.queue.model_copy(update={"users": users})
    lines = drawn(dashboard, width=80, height=30)
    assert len(lines) <= 30
    assert [line.split() for line in lines if "user-" in line] == [
        [f"user-{number}", "9", "1", "1:39"] for number in range(shown)
    ]


def test_the_details_of_the_list_are_shown() -> None:
    # Given a task without an event so far
    dashboard = Dashboard()
    task = listed("t1", worker="gpu-1-4711-9f3c", duration_seconds=61.5, eta_seconds=9.2)
    dashboard.reconcile(TaskPage(tasks=[task]), 1, 1)
    # Then its worker, its duration and its remaining time are shown
    assert drawn(dashboard, width=80, height=24, now=1)[-1].split()[-2:] == ["0:09", "gpu-1-4711-9f3c"]


def test_the_lag_of_a_live_task_is_shown_before_its_first_event() -> None:
    # Given a live task without an event so far
    dashboard = Dashboard()
    dashboard.reconcile(TaskPage(tasks=[listed("t1", lag_seconds=12.5)]), 1, 1)
    # Then its lag is shown in place of a percentage
    assert drawn(dashboard, width=80, height=24, now=1)[-1].split()[-3:] == ["live", "lag", "0:12"]


@pytest.mark.parametrize(("speakers", "text"), [(0, "live"), (1, "1 speaker"), (12, "12 speakers")])
def test_the_speakers_of_a_live_task_are_counted(speakers: int, text: str) -> None:
    # Given a live task with a long name, whose speakers are known
    running = event("interview-" * 6, stage=Stage.TRANSCRIBING, lag_seconds=0.4, speakers=speakers)
    dashboard = dashboard_of(running)
    # Then their number is shown, if there is one
    for width in (80, 130):
        *_, line = drawn(dashboard, width=width, height=24)
        assert f" {text} " in line


@pytest.mark.parametrize("width", [80, 110, 130, 200])
def test_a_name_is_shortened_only_if_there_is_no_room(width: int) -> None:
    # Given names of which one is long, on screens of several widths
    task_id = "weekly-meeting-of-the-team-ab12cd34"
    running = event(task_id, stage=Stage.TRANSCRIBING, duration_seconds=36_000, eta_seconds=35_999)
    dashboard = dashboard_of(running, event(f"{task_id}-gone", State.FAILED, error=GONE))
    text = "\n".join(drawn(dashboard, width=width, height=24))
    # Then the name is whole where the other columns leave room for it, and so is that of a failure
    assert (f"{task_id} " in text) is (width > 80)
    assert (f"{task_id}-gone " in text) is (width > 80)
    # And the short name of the worker is whole beside it
    assert "gpu-1-4711-9f3c" in text


def test_ended_tasks_are_counted_since_the_start() -> None:
    dashboard = dashboard_of(event("t1", State.COMPLETED), event("t2", State.FAILED, error=DIED))
    dashboard.apply(event("t3", State.FAILED, error=GONE), 0)
    counts = f"ended since {NOON.astimezone():%H:%M}: 1 completed, 1 failed, 1 failed (client)"
    assert drawn(dashboard, width=90, height=24)[0].rstrip() == f"nats://localhost:4222  {counts}"
    assert drawn(dashboard_of(), width=70, height=24)[0].rstrip().endswith(": none")


@pytest.mark.parametrize(
    ("state", "error", "colour"),
    [
        pytest.param(State.FAILED, DIED, ERROR, id="an operator can act on it"),
        pytest.param(State.RETRYING, DIED, WARNING, id="it is retried"),
        pytest.param(State.FAILED, GONE, None, id="the client was told"),
    ],
)
def test_only_what_an_operator_can_act_on_is_red(state: State, error: ErrorDetail, colour: str | None) -> None:
    console = Console(width=90, height=24, file=StringIO())
    segments = console.render(render(dashboard_of(event("t1", state, error=error)), "", width=90, height=24, now=0))
    (style,) = [part.style for part in segments if part.text.strip() == f"{NOON.astimezone():%d %b}"]
    assert (style.color and style.color.name if style else None) == colour


def test_the_remaining_time_decreases_and_a_silent_worker_is_marked() -> None:
    dashboard = dashboard_of(event("t1", eta_seconds=65))
    assert "1:00" in "\n".join(drawn(dashboard, width=80, height=24, now=5))
    assert "silent" in "\n".join(drawn(dashboard, width=80, height=24, now=20))


def test_a_program_is_told_which_commands_print_the_same(run: Run) -> None:
    ended = run("top")
    assert ended.exit_code == 2
    assert "needs a terminal: `natscribe queue`" in " ".join(ended.stderr.split())
