"""The page, in a real browser: the options of a task, and what becomes of a task that had them."""

import asyncio
import json
from pathlib import Path

import pytest
from natscribe.schemas import subjects

from tests.e2e.browser import NEEDS_CHROMIUM, WITHIN_S
from tests.e2e.page_service import completed, lists, recording, results_of, statuses, streams_of
from tests.e2e.test_page_failures_in_a_browser import stored_task
from tests.e2e.test_task_page_in_a_browser import result
from tests.e2e.web_page import site_in
from tests.waiting import eventually

pytestmark = [NEEDS_CHROMIUM, pytest.mark.timeout(300)]


async def test_folded_options_are_named_and_those_of_one_recording_forgotten(tmp_path: Path) -> None:
    async with site_in(tmp_path) as site, streams_of(site) as client:
        # Given folded options of which one is not valid, when a recording is chosen, and the option corrected
        fields = {"min": "3", "max": "2", "keep": "60", "model": "whisper-base", "numbers": "in", "redact": "cards"}
        seen = await site.visit("folded", fields=fields, corrected="4", file=str(recording(tmp_path, 1)))
        task = json.loads(await stored_task(client))
    # Then the recording has waited for that
    assert seen["waiting"].startswith("long.wav: not sent yet")
    assert (task["min_speakers"], task["max_speakers"], task["keep_seconds"]) == (3, 4, 60)
    assert task["numbers"] == "digits"
    assert task["redact"] == {"entities": ["pci"]}
    # And after a reload the page names the options that are set, without that which erases, until they are reset
    assert seen["set"] == "More options: Speakers, at least; Speakers, at most; Numbers; Replace personal data; Model"
    assert seen["reset"] == "More options"


async def test_a_task_that_was_erased_says_so(tmp_path: Path) -> None:
    async with site_in(tmp_path) as site, streams_of(site) as client:
        # Given the open page of a task
        tasks = [completed(0, "t0.wav")]
        bucket = await client.jetstream().object_store("audio")
        await bucket.put("t0.wav", recording(tmp_path, 4).read_bytes())
        await client.subscribe(subjects.LIST, cb=lists(tasks))
        await client.subscribe(subjects.STATUS, cb=statuses(tasks))
        await client.subscribe(subjects.RESULT, cb=results_of(client, result("t0")))
        visiting = asyncio.create_task(site.visit("erased", task="t0"))
        await eventually((tmp_path / "open").exists, within=WITHIN_S)
        # When the service erases it
        tasks.clear()
        seen = await visiting
    # Then its page says so, and after a reload the list
    assert seen["about"] == "The task, its text and its recording were deleted, or erased when their time was over."
    assert not seen["isRead"]
    assert seen["notice"].startswith("There is no task “t0” any more")
    assert seen["shown"]
