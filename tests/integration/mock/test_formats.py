"""A result is the same in each format, whether it is requested or written by the command."""

import asyncio
import re
from pathlib import Path

import pytest
from natscribe.schemas import examples
from natscribe.schemas.requests import ResultFormat
from natscribe.schemas.transcription import Interval

from tests.integration.conftest import Publisher
from tests.integration.mock.conftest import Run

PLAYER = re.compile(r'<section aria-label="Recording".*?</section>', re.DOTALL)  # has a link to the recording
OF_DIARIZATIONS = (ResultFormat.RTTM, ResultFormat.HTML, ResultFormat.JSON)


@pytest.mark.parametrize(
    ("command", "formats"), [(("transcribe", "--diarize"), tuple(ResultFormat)), (("diarize",), OF_DIARIZATIONS)]
)
async def test_each_format_is_the_same_by_request_and_by_command(
    run: Run,
    publisher: Publisher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    formats: tuple[ResultFormat, ...],
) -> None:
    # Given recordings with channels and speech without text, in which one of two speakers is known by name
    details = {"channels": 2, "untranscribed": [Interval(start=5, end=7.5)]}
    monkeypatch.setattr(examples, "RESULT", examples.RESULT.model_copy(update=details))
    recording = tmp_path / "call.flac"
    recording.write_bytes(b"not decoded")
    await run("diarize", "--identify", "--task-id", "t0", str(recording))
    anna = ("--task-id", "t0", "--speaker", "SPEAKER_00", "--name", "Anna", "--consent-by", "Anna")
    assert (await run("voices", "enroll", *anna))[0] == 0
    # When a result is written in all formats after its task, and later
    options = [word for fmt in formats for word in ("--format", fmt.value)]
    task = ("--identify", "--task-id", "t1", "--output-dir", str(tmp_path / "task"))
    assert (await run(*command, *task, *options, str(recording)))[0] == 0
    assert (await run("result", "t1", "--output-dir", str(tmp_path / "later"), *options))[0] == 0
    printed = await asyncio.gather(*(run("result", "t1", "--format", fmt.value) for fmt in formats))
    # Then each text is that of a request, except that the page of a task plays its recording
    for fmt, (_, shown, _) in zip(formats, printed, strict=True):
        reply = await publisher.nc.request("tasks.result", b'{"task_id": "t1", "format": "%s"}' % fmt.value.encode())
        text = reply.data.decode()
        assert shown.rstrip("\n") == text.rstrip("\n"), fmt
        assert (tmp_path / f"later/call.{fmt.value}").read_text(encoding="utf-8") == text
        of_task = (tmp_path / f"task/call.{fmt.value}").read_text(encoding="utf-8")
        assert PLAYER.sub("", of_task) == PLAYER.sub("", text)
        # And names the person where people read it
        assert ("Anna" in text) == (fmt is not ResultFormat.RTTM)
