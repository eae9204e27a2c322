"""The notice after Ctrl-C."""

from pathlib import Path

import pytest
from natscribe.cli.output import Output
from natscribe.cli.submission import Job, interruption_notice
from natscribe.schemas.requests import ResultFormat


async def no_task(*_: object) -> str:
    return ""


def job(label: str, task_id: str | None, *, done: bool = False, failed: bool = False) -> Job:
    return Job(Path(label), no_task, label, label, task_id, is_done=done, has_failed=failed)


def test_the_notice_counts_all_jobs_and_says_how_to_fetch_missing_results(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given six recordings in all states
    jobs = [
        *(job("a", "t-a", done=True), job("b", "t-b", failed=True), job("c", None, failed=True)),
        *(job("d", "t-d"), job("e", "t-e"), job("f", None)),
    ]
    output = Output((ResultFormat.TXT, ResultFormat.SRT), Path("my results"))
    monkeypatch.setattr("sys.argv", ["natscribe", "transcribe", "c*", "--language", "en"])
    # When the command is interrupted
    assert list(interruption_notice(jobs, output, ["c*"])) == [
        "1 of 6 are done, and written to my results.",
        "1 not submitted: f. Submit the rest:",
        "  natscribe transcribe --language en f",
        "2 are still running in the service:",
        "  natscribe list --limit 6    shows the state of each",
        "  natscribe watch TASK_ID    shows the text of one as it is transcribed",
        "  natscribe cancel TASK_ID...    cancels them",
        "Fetch the results later:",
        "  natscribe result --output-dir 'my results' --format txt --format srt t-d t-e",
    ]


def test_the_notice_for_one_recording_has_only_next_steps() -> None:
    assert list(interruption_notice([job("a", "t-a")], Output())) == [
        "t-a is still running:",
        "  natscribe watch t-a    shows its text as it is transcribed",
        "  natscribe cancel t-a    cancels it",
        "Fetch the result later:",
        "  natscribe result t-a",
    ]
    assert list(interruption_notice([job("a", None)], Output())) == []
