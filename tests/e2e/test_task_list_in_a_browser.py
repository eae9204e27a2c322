"""The list of tasks and the progress of one, in a real browser."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from natscribe.schemas import examples, subjects
from natscribe.schemas.transcription import SegmentsEvent

from tests.e2e.browser import NEEDS_CHROMIUM, WITHIN_S
from tests.e2e.page_service import completed, listed, lists, statuses, streams_of
from tests.e2e.web_page import site_in
from tests.unit.formats.test_transcript_page import HOSTILE
from tests.waiting import eventually

pytestmark = [NEEDS_CHROMIUM, pytest.mark.timeout(300)]


def said(task_id: str, sequence: int, text: str) -> bytes:
    segment = examples.SEGMENT.model_copy(update={"text": text})
    event = SegmentsEvent(
        task_id=task_id, attempt=1, sequence=sequence, language="en", processed_seconds=2, segments=[segment]
    )
    return event.model_dump_json().encode()


async def test_the_list_shows_how_long_a_recording_is_and_how_it_begins(tmp_path: Path) -> None:
    # Given a list of tasks, of which one has text that would be markup, one waits, and one has no text
    tasks = [completed(number, f"two_readers_{number}.flac") for number in (4, 2)]
    tasks = [task.model_copy(update={"duration_seconds": 754.2}) for task in tasks] + [listed(1, "1.wav")]
    async with site_in(tmp_path) as site, streams_of(site) as client:
        js = client.jetstream()
        for sequence, text in enumerate([f" Good morning. {HOSTILE}", "And that."], start=1):
            await js.publish(subjects.append_to(subjects.segments("t4")), said("t4", sequence, text))
        await client.subscribe(subjects.LIST, cb=lists(tasks))
        # When somebody looks at it
        seen = await site.visit("listing", count=len(tasks), words="Good morning.")
    # Then it has the durations and the first words, as text
    assert seen["lengths"] == ["12:34", "12:34", ""]
    assert seen["words"][0].startswith(f"Good morning. {HOSTILE}"[:100])
    assert "And that." not in seen["words"][0]
    assert seen["words"][1:] == ["", ""]
    assert seen["dialogs"] == []
    # And nothing is cut off beside it
    assert (seen["width"], seen["phone"], seen["cut"]) == (1280, 390, 0)


async def test_a_running_task_says_how_far_it_is_and_what_happens_until_its_first_text(tmp_path: Path) -> None:
    # Given the open page of a task that begins
    known = listed(1, "meeting.wav").model_copy(update={"started_at": datetime.now(UTC)})
    async with site_in(tmp_path) as site, streams_of(site) as client:
        await client.subscribe(subjects.LIST, cb=lists([known]))
        await client.subscribe(subjects.STATUS, cb=statuses([known]))
        visiting = asyncio.create_task(site.visit("begins", task="t1"))
        await eventually((tmp_path / "open").exists, within=WITHIN_S)
        event = {"task_id": "t1", "user_id": 0, "attempt": 1, "state": "running", "stage": "transcribing"}
        event |= {"sequence": 1, "progress": 7, "duration_seconds": 754.2, "processed_seconds": 30.0}
        event |= {"time": datetime.now(UTC).isoformat()}
        await client.publish(subjects.progress("t1"), json.dumps(event).encode())
        # When nothing comes for seconds, and then the first text
        await eventually((tmp_path / "waited").exists, within=WITHIN_S)
        await client.jetstream().publish(subjects.append_to(subjects.segments("t1")), said("t1", 1, "Good morning."))
        seen = await visiting
    # Then the page says how far it is, in the list, too
    assert seen["about"] == seen["row"] == "Transcribing, 7%, 0:30 of 12:34"
    # And until there is text, it says for how long the task runs, and what will come
    assert len(set(seen["hints"])) >= 3
    assert all(hint.startswith("Running for ") and "first text" in hint for hint in seen["hints"])
    assert seen["hintIsLeft"] is False
    # And a screen reader is not told each second
    assert seen["announced"] == []
