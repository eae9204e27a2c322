"""What a person reads after Ctrl-C."""

from pathlib import Path

from natscribe.cli.jobs import Job, interruption_notice
from natscribe.cli.output import Format, Output


async def nobody(*_: object) -> str:
    return ""


def job(label: str, task_id: str | None, *, done: bool = False, failed: bool = False) -> Job:
    return Job(Path(label), nobody, label, label, task_id, is_done=done, has_failed=failed)


def test_what_is_done_goes_on_or_was_not_sent_is_told() -> None:
    # Given six recordings in all states
    jobs = [
        *(job("a", "t-a", done=True), job("b", "t-b", failed=True), job("c", None, failed=True)),
        *(job("d", "t-d"), job("e", "t-e"), job("f", None)),
    ]
    # When the command is interrupted, then each is told, and how to fetch the results that are missing
    assert list(interruption_notice(jobs, Output((Format.TXT, Format.SRT), Path("my results")))) == [
        "1 of 6 are done, and written to my results.",
        "1 not sent: f",
        "2 go on in the service:",
        "  natscribe list --limit 6    shows the state of each",
        "  natscribe watch TASK_ID    shows the text of one as it is found",
        "  natscribe cancel TASK_ID...    ends them",
        "Fetch their results later:",
        "  natscribe result --output-dir 'my results' --format txt --format srt t-d t-e",
    ]


def test_of_one_recording_only_the_next_steps_are_told() -> None:
    assert list(interruption_notice([job("a", "t-a")], Output())) == [
        "t-a still runs:",
        "  natscribe watch t-a    shows its text as it is found",
        "  natscribe cancel t-a    ends it",
        "Fetch the result later:",
        "  natscribe result t-a",
    ]
    assert list(interruption_notice([job("a", None)], Output())) == []
