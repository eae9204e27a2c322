"""Formats text, times and percentages for the HTML page of a result."""

from natscribe.schemas.kinds import Result


def clock_time(seconds: float, duration: float) -> str:
    """Return a time as `0:07`, or as `0:00:07` if the recording lasts an hour or more, so that all times align.

    `duration`: the duration of the recording in seconds.
    """
    minutes, rest = divmod(int(seconds), 60)
    if max(duration, seconds) < 3600:  # noqa: PLR2004 -- seconds of an hour
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def share(part: float) -> str:
    """Return a fraction from 0 to 1 as a percentage; `<1%` for a small one that would be rounded to 0%."""
    return f"{part:.0%}" if part == 0 or part >= 0.005 else "<1%"  # noqa: PLR2004 -- what rounds to 1


def name_of(result: Result) -> str:
    """Return the file name of a result's recording, without the task id with which an upload prefixes it."""
    name = result.audio_file_id.rstrip("/").rpartition("/")[2]
    return name.removeprefix(f"{result.task_id}-") or result.audio_file_id
