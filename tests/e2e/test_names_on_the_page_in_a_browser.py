"""The names on the page, in a real browser: those of recordings, and those that speakers get."""

from pathlib import Path
from typing import Any

import pytest
from natscribe.schemas import subjects
from natscribe.schemas.transcription import TranscriptionTask

from tests.e2e.browser import NEEDS_CHROMIUM
from tests.e2e.page_service import completed, lists, recording, serve_results, statuses, streams_of
from tests.e2e.test_page_failures_in_a_browser import stored_task
from tests.e2e.test_task_page_in_a_browser import result
from tests.e2e.web_page import Site, site_in
from tests.unit.formats.test_transcript_page import HOSTILE, segment_of, transcript

pytestmark = [NEEDS_CHROMIUM, pytest.mark.timeout(300)]

MAX_NAME_BYTES = 200
PHONE = {"width": 390, "height": 844, "isPhone": True}


async def uploaded(site: Site, name: str) -> tuple[TranscriptionTask, dict[str, Any], dict[str, Any]]:
    """The task of a file with this name, and what the page shows of it: here, and in the browser of somebody else."""
    async with streams_of(site) as client:
        here = await site.visit("chosen", name=name)
        task = TranscriptionTask.model_validate_json(await stored_task(client))
        stored = await (await client.jetstream().object_store("audio")).get(task.audio_file_id)
        assert stored.data
        waiting = completed(1, task.audio_file_id).model_copy(update={"task_id": task.task_id})
        await client.subscribe(subjects.LIST, cb=lists([waiting]))
        await client.subscribe(subjects.STATUS, cb=statuses([waiting]))
        return task, here, await site.visit("elsewhere_named", task=task.task_id)


async def test_a_recording_has_the_name_of_its_file_in_every_browser(tmp_path: Path) -> None:
    # Given a file whose name has blanks and a sign that is no letter
    name = "Совещание отдела №5.flac"
    async with site_in(tmp_path) as site:
        # When it is uploaded
        task, here, elsewhere = await uploaded(site, name)
    # Then its page and its row in the list have this name, also in a browser that has not uploaded it
    assert (here["name"], elsewhere["row"], elsewhere["name"]) == (name, name, name)
    # And so has its object, after the id of the task
    assert task.audio_file_id == f"{task.task_id}-{name}"


@pytest.mark.parametrize(
    ("name", "shown", "stored"),
    [
        ("a\x1b]0;b\x07\u202egnp.wav\u2028c.mp3", "a ]0;b gnp.wav c.mp3", "a ]0;b gnp.wav c.mp3"),
        (r"..\/a:b*?<img src=x onerror=alert(1)>|.wav", None, "..__a_b___img src=x onerror=alert(1)__.wav"),
        ("ж" * 500 + ".flac", None, "ж" * 96 + "….flac"),
    ],
    ids=["control and bidi characters", "path and markup", "500 letters"],
)
async def test_a_hostile_name_is_text_and_no_path(tmp_path: Path, name: str, shown: str | None, stored: str) -> None:
    async with site_in(tmp_path) as site:
        # When a file with such a name is uploaded
        task, here, elsewhere = await uploaded(site, name)
    # Then it is text on the page
    assert here["name"] == (shown or name)
    assert here["title"] == f"{here['name']} · Natscribe"
    assert (here["dialogs"], here["width"], elsewhere["width"]) == ([], 1280, 1280)
    # And the name of its object is no path, and short enough for the name of a file
    kept = task.audio_file_id.removeprefix(f"{task.task_id}-")
    assert kept == elsewhere["row"] == stored
    assert len(kept.encode()) <= MAX_NAME_BYTES


async def test_a_speaker_gets_a_name_for_one_transcript(tmp_path: Path) -> None:
    async with site_in(tmp_path) as site, streams_of(site) as client:
        # Given a transcript of which nobody speaks for long enough to be enrolled
        await serve_results(client, recording(tmp_path, 4).read_bytes(), result("t0"))
        enrolments = await client.subscribe(subjects.ENROLL)
        # When somebody names both speakers there, and takes the second name back
        person = HOSTILE[:40]
        seen = await site.visit("named_here", task="t0", people=[person, "Boris"], formats=["txt", "srt"])
        assert enrolments.pending_msgs == 0
    # Then the dialog has said why the voice cannot be enrolled
    assert seen["reason"].startswith("SPEAKER_00 speaks alone for only 1 s, and 15 s are needed.")
    # And the names are in the transcript, also after a reload, in copies and downloads
    assert seen["speakers"] == seen["again"] == [person, "Boris"]
    assert seen["copied"] == f"{person}: It was said.\nBoris: It was said.\n"
    assert all(f"{person}: It was said." in content and "SPEAKER" not in content for content in seen["saved"].values())
    # And a name can be changed, and taken back
    assert seen["prefilled"] == "Boris"
    assert seen["restored"] == [person, "SPEAKER_01"]
    # And they are text, whatever they are
    assert seen["dialogs"] == []


async def test_a_name_is_kept_apart_for_speakers_with_the_same_name(tmp_path: Path) -> None:
    async with site_in(tmp_path) as site, streams_of(site) as client:
        await serve_results(client, recording(tmp_path, 4).read_bytes(), result("t0"), identify=False)
        # When two speakers get the same name, as they are one person, and then one of them another
        seen = await site.visit("named_here", task="t0", people=["Anna", "Anna"], formats=["txt"])
    # Then each keeps its own
    assert seen["speakers"] == ["Anna", "Anna"]
    assert seen["restored"] == ["Anna", "SPEAKER_01"]


async def test_all_speakers_of_a_phone_can_be_named(tmp_path: Path) -> None:
    # Given the transcript of six people, of whom one has a long name, on a phone
    said = [segment_of(2 * number, "It was said.", f"SPEAKER_0{number}") for number in range(6)]
    whole = transcript(*said, task_id="t0", audio_file_id="t0.wav", duration=12, speakers=6)
    async with site_in(tmp_path) as site, streams_of(site) as client:
        await serve_results(client, recording(tmp_path, 12).read_bytes(), whole)
        seen = await site.visit("phone_names", task="t0", more=PHONE, person="W" * 64)
    # Then no button is cut off, and the page does not scroll sideways
    assert seen["cut"] == []
    assert seen["width"] == PHONE["width"]


@pytest.mark.parametrize(("more", "lines"), [({}, 14), (PHONE, 14)], ids=["desktop", "phone"])
async def test_a_transcript_is_read_beside_the_drawer(tmp_path: Path, more: dict[str, Any], lines: int) -> None:
    # Given the transcript of two people
    async with site_in(tmp_path) as site, streams_of(site) as client:
        await serve_results(client, recording(tmp_path, 4).read_bytes(), result("t0"))
        # When the drawer is opened
        seen = await site.visit("beside_drawer", task="t0", more=more)
    # Then there is room for enough lines of the transcript, and for messages
    assert seen["lines"] >= lines
    assert seen["messages"] >= 3
    assert seen["width"] == more.get("width", 1280)
