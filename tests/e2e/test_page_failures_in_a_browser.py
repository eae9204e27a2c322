"""The page, in a real browser, where something fails: the connection, the storage, permissions, the workers."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from natscribe.jetstream.large_results import result_reference
from natscribe.schemas import subjects
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.transcription import TranscriptionTask
from natscribe.schemas.voices import SpeakerVoice

from app.command.embedded import NatsServer, free_port
from app.command.page import WebPage
from app.settings import Settings
from tests.audio import tone, wav
from tests.e2e.browser import NEEDS_CHROMIUM, WITHIN_S
from tests.e2e.page_service import (
    completed,
    listed,
    lists,
    recording,
    replies,
    serve_results,
    status_of,
    statuses,
    streams_of,
)
from tests.e2e.web_page import Site, copied_site, site_in
from tests.unit.formats.test_transcript_page import HOSTILE, talk, transcript
from tests.waiting import eventually

pytestmark = [NEEDS_CHROMIUM, pytest.mark.timeout(300)]

TASKS = 200
MESSAGES = 10_000
HOSTILE_BODIES = (
    b"",
    b"no JSON",
    b"\xff\xfe",
    b"null",
    b"[]",
    b"7",
    b'{"user_id": 0}',
    b'{"user_id": 0, "task_id": [{}]}',
)
CHUNKS = 80  # of a recording of 630 s
BLOCKED_MS = 100  # CPU time of a task of the main thread


async def test_an_upload_survives_a_lost_connection_and_a_closed_page(tmp_path: Path) -> None:
    # Given a page without a worker, and a recording of eight megabytes
    file = recording(tmp_path, 250)
    async with copied_site(tmp_path) as site, streams_of(site) as client:
        # When the connection breaks during the upload, and the page is closed and opened again
        seen = await site.visit("cut", file=str(file), language="de", vocabulary="Dashwood; JetStream")
        # Then the bucket has each byte once, with the digest
        js = client.jetstream()
        task = TranscriptionTask.model_validate_json(await stored_task(client))
        assert (task.language, task.vocabulary) == ("de", ("Dashwood", "JetStream"))
        bucket = await js.object_store("audio")
        stored = await bucket.get(task.audio_file_id)
        assert sha256(stored.data or b"").digest() == sha256(file.read_bytes()).digest()
        chunks = f"$O.audio.C.{stored.info.nuid}"
        info = await js.stream_info("OBJ_audio", subjects_filter=chunks)
        assert info.state.subjects == {chunks: stored.info.chunks}
    # And the page says that no worker replies, and that the task waits
    assert seen["problem"].startswith("No worker replies.")
    assert seen["about"] == "A worker takes it as soon as one is free."


async def stored_task(client: Client) -> bytes:
    state = (await client.jetstream().stream_info("transcription_tasks")).state
    assert state.messages == 1
    return (await client.jetstream().get_msg("transcription_tasks", state.first_seq)).data or b""


async def test_uploads_of_one_tab_are_seen_and_cancelled_in_another(tmp_path: Path) -> None:
    # Given three recordings, two of which are uploaded at a time, and a network that takes no more than a part of them
    files = [tmp_path / f"{name}.wav" for name in ("one", "two", "three")]
    for file in files:
        file.write_bytes(wav(tone(60)))
    async with copied_site(tmp_path) as site, streams_of(site) as client:
        # When another tab is opened, and the one that waits is cancelled there
        seen = await site.visit("tabs", files=list(map(str, files)), cancelled="three.wav", allowed=1_000_000)
        stored = await client.jetstream().stream_info("transcription_tasks")
    # Then the other tab has shown all as uploads, none as interrupted, and the two others have become tasks
    assert seen["about"] == ["Another tab uploads it."] * 3
    assert sorted(seen["names"]) == ["one.wav", "two.wav"]
    assert stored.state.messages == 2


async def test_a_recording_that_a_running_task_needs_is_not_deleted(tmp_path: Path) -> None:
    # Given a failed task, and another attempt at it that waits
    failed, waiting = listed(0, "meeting.wav"), listed(1, "meeting.wav")
    async with site_in(tmp_path) as site, streams_of(site) as client:
        await client.subscribe(subjects.LIST, cb=lists([waiting, failed]))
        await client.subscribe(subjects.STATUS, cb=replies(status_of(failed)))
        deletions = await client.subscribe(subjects.DELETE)
        # When the first one shall be deleted
        seen = await site.visit("shared", task=failed.task_id, name="meeting.wav")
    # Then the page says why not yet
    assert seen["problem"].startswith("Another task needs this recording")
    assert deletions.pending_msgs == 0


async def test_a_service_with_recordings_elsewhere_says_how_to_transcribe_them(tmp_path: Path) -> None:
    async with site_in(tmp_path, audio_store="s3://recordings") as site:
        seen = await site.visit("elsewhere")
    assert "natscribe transcribe --stored" in seen["problem"]
    assert not seen["isOffered"]


async def test_a_file_above_the_limit_is_not_uploaded(tmp_path: Path) -> None:
    async with site_in(tmp_path, audio_max_bytes=100_000) as site, streams_of(site) as client:
        seen = await site.visit("refused", file=str(recording(tmp_path, 10)))
        assert (await client.jetstream().stream_info("OBJ_audio")).state.messages == 0
    assert seen["problem"].startswith("The file is larger than the service allows: split it")
    assert not seen["canRetry"]


async def test_a_page_without_nats_says_how_to_start_it(tmp_path: Path) -> None:
    page, file = WebPage(free_port(), free_port()), recording(tmp_path, 1)
    with page.served(Settings(_env_file=None)):
        site = Site(page.url, NatsServer(tmp_path / "nats"), page.websocket_port, tmp_path)
        seen = await site.visit("down", file=str(file))
    assert seen["problem"].startswith(f"NATS does not answer at {page.websocket}. Start it with “natscribe up”")
    assert seen["link"] == "Not connected"
    assert "the upload continues when it is back" in seen["file"]


async def test_an_open_page_follows_a_service_that_is_started_again_elsewhere(tmp_path: Path) -> None:
    # Given an open page, when NATS goes away
    first = WebPage(free_port(), free_port())
    second = WebPage(first.port, free_port())
    async with site_in(tmp_path, page=first) as site:
        visiting = asyncio.create_task(site.visit("restarted", server=second.websocket))
        await eventually((tmp_path / "open").exists, within=WITHIN_S)
    await eventually((tmp_path / "away").exists, within=WITHIN_S)
    # And it is started again, with another port for web pages
    async with site_in(tmp_path, page=second):
        seen = await visiting
    # Then the page has said what to do, and is connected again without anybody's help
    assert seen["problem"].startswith(f"NATS has not answered at {first.websocket} for a while. Start “natscribe up”")


async def test_a_problem_goes_with_the_state_that_it_is_about(tmp_path: Path) -> None:
    # Given the page of a running task, when NATS is started again, and no worker yet
    task = listed(1, "meeting.wav").model_copy(update={"state": State.RUNNING})
    async with site_in(tmp_path) as site:
        async with streams_of(site) as client:
            await client.subscribe(subjects.LIST, cb=lists([task]))
            await client.subscribe(subjects.STATUS, cb=statuses([task]))
            visiting = asyncio.create_task(site.visit("unserved", task=task.task_id))
            await eventually((tmp_path / "open").exists, within=WITHIN_S)
        await site.server.stop()
        await site.server.start()
        await eventually(lambda: (tmp_path / "away").exists() or visiting.done(), within=WITHIN_S)
        # And then one replies
        async with await nats.connect(site.server.url) as client:
            await client.subscribe(subjects.LIST, cb=lists([task]))
            await client.subscribe(subjects.STATUS, cb=statuses([task]))
            seen = await visiting
    # Then the page has said it once, and in each view what it means there
    assert seen["atFirst"] == ["No worker replies. This page continues as soon as one does."]
    assert [said for (said,) in seen["views"].values()] == [
        "No worker replies. Recordings that you drop here are stored, and transcribed when one runs.",
        "No worker replies. What you say is stored, and becomes text when one runs.",
        "No worker replies. This page continues as soon as one does.",
    ]
    # And a press of Cancel has been answered in the same way: in one box, beside the button
    assert seen["cancelling"] == ["No Natscribe runs at this NATS. Start a worker, then try again."]
    # And now that the task runs, nothing says otherwise
    assert (seen["atLast"], seen["state"]) == ([], "Running")


async def test_a_file_that_was_chosen_before_there_was_a_service_is_sent_to_it(tmp_path: Path) -> None:
    # Given a file that could not be stored
    async with site_in(tmp_path) as site:
        visiting = asyncio.create_task(site.visit("early", file=str(recording(tmp_path, 1))))
        await eventually(lambda: (tmp_path / "open").exists() or visiting.done(), within=WITHIN_S)
        # When the first worker starts
        async with streams_of(site) as client:
            await client.subscribe(subjects.LIST, cb=lists([]))
            seen = await visiting
            task = TranscriptionTask.model_validate_json(await stored_task(client))
    # Then the page sends it, and says no longer that there is none
    assert (seen["state"], seen["problem"]) == (
        "Not sent",
        "No Natscribe runs at this NATS. Start a worker, then try again.",
    )
    assert task.audio_file_id.endswith("long.wav")
    assert seen["atLast"] == []


async def test_the_last_press_of_connect_wins(tmp_path: Path) -> None:
    # Given a page whose reader presses Connect for an address that is slow to reply, and then for another one
    async with copied_site(tmp_path) as site:
        seen = await site.visit("connects")
    # Then the page is connected to the latter, and has closed the former
    assert seen["link"] == "Connected"


async def test_a_full_bucket_is_reported_beside_the_file(tmp_path: Path) -> None:
    async with site_in(tmp_path) as site, streams_of(site, max_bytes=100_000):
        seen = await site.visit("refused", file=str(recording(tmp_path, 10)))
    assert seen["problem"].startswith("NATS has no room. Nothing is lost")
    assert seen["canRetry"]


USERS = """
authorization { users: [
  { user: operator, password: right }
  { user: reader, password: right, permissions: { publish: { deny: ["$O.audio.>"] } } }
] }
no_auth_user: reader
"""


async def test_a_user_without_permission_is_told_whom_to_be(tmp_path: Path) -> None:
    async with site_in(tmp_path, USERS) as site, streams_of(site):
        seen = await site.visit("refused", file=str(recording(tmp_path, 1)))
    assert seen["problem"].startswith("This user may not do that.")


async def test_a_login_opens_the_page(tmp_path: Path) -> None:
    # Given NATS with users, when somebody gives a wrong login, and then the right one
    users = "authorization { users: [{ user: anna, password: right }] }\n"
    async with site_in(tmp_path, users) as site:
        seen = await site.visit("login", user="anna", passwords=["wrong", "right"])
    # Then the page has said what to do, and is connected
    assert seen["problem"] == "NATS refuses this login. Correct user and password under Connection."
    assert seen["link"] == "Connected"


async def test_a_page_without_a_service_says_so(tmp_path: Path) -> None:
    async with site_in(tmp_path) as site:
        seen = await site.visit("refused", file=str(recording(tmp_path, 1)))
    assert seen["problem"] == "No Natscribe runs at this NATS. Start a worker, then try again."


async def test_the_transcript_of_an_hour_is_read_played_and_copied(tmp_path: Path) -> None:
    # Given the transcript of an hour, and its recording of 20 MB
    whole = transcript(*talk(10_000), task_id="t0", audio_file_id="hour.wav", duration=3_600, speakers=4)
    names = ["html", "json", "rttm", "srt", "txt", "vtt"]
    async with site_in(tmp_path) as site, streams_of(site) as client:
        await serve_results(client, recording(tmp_path, 630).read_bytes(), whole)
        # When the page shows it
        seen = await site.visit("read", task=whole.task_id, formats=names)
    # Then it can be read, played and copied, and the page was never blocked for long
    assert seen["audio"] == "blob:"
    assert sum(line.count("It was said") for line in seen["lines"]) == len(whole.segments)
    assert seen["copied"].count("\n") == len(whole.segments)
    # And it can be downloaded in each format
    assert sorted(seen["saved"]) == [f"hour.{name}" for name in names]
    assert seen["saved"]["hour.srt"].startswith("1\n00:00:00,000 --> ")
    assert seen["saved"]["hour.vtt"].startswith("WEBVTT")
    # And the drawer shows the reads of its chunks once, with a command for all of them
    (reads,) = seen["reads"]
    assert int(reads.partition("request")[2].split()[1]) == pytest.approx(20e6 / 2**18, abs=3)
    assert seen["command"] == "nats object get audio hour.wav --force"
    # And a click on a speaker asks who this is
    assert seen["asked"] == "Who is SPEAKER_00?"
    print(f"the main thread was blocked for {seen['blocked']:.0f} ms at most")
    assert seen["blocked"] <= BLOCKED_MS


async def test_a_slow_machine_loads_a_recording_without_blocking_the_page(tmp_path: Path) -> None:
    # Given the transcript of an hour, whose recording has eighty chunks
    whole = transcript(*talk(10_000), task_id="t0", audio_file_id="hour.wav", duration=3_600, speakers=4)
    async with site_in(tmp_path) as site, streams_of(site) as client:
        await serve_results(client, recording(tmp_path, 630).read_bytes(), whole)
        # When a machine with a quarter of the speed loads it
        seen = await site.visit("slowly", task=whole.task_id, slowness=4, nth=CHUNKS // 4)
    # Then none but a few chunks blocks the page for long
    print(f"a quarter of the chunks blocked the main thread for more than {seen['blocked']:.0f} ms")
    assert seen["blocked"] <= BLOCKED_MS


async def test_a_transcript_too_large_for_a_message_can_be_read_played_and_copied(tmp_path: Path) -> None:
    # Given the transcript of two hours in the object store, with the name of one of its four speakers
    task = completed(0, "hours.wav")
    anna = SpeakerVoice(voice="0" * 32, name="Anna", score=0.9)
    whole = transcript(*talk(24_000), task_id=task.task_id, audio_file_id=task.audio_file_id, duration=9_000)
    async with site_in(tmp_path) as site, streams_of(site) as client:
        js = client.jetstream()
        results = await js.create_object_store("results")
        info = await results.put(task.task_id, whole.model_dump_json().encode())
        await (await js.object_store("audio")).put("hours.wav", recording(tmp_path, 20).read_bytes())
        reference = result_reference(whole, info).model_copy(update={"voices": {"SPEAKER_00": anna}})
        await client.subscribe(subjects.LIST, cb=lists([task]))
        await client.subscribe(subjects.STATUS, cb=replies(status_of(task)))
        await client.subscribe(subjects.RESULT, cb=replies(reference))
        # When the page shows it
        seen = await site.visit("large", task=task.task_id, line=3)
    # Then it has all its text, which can be copied
    assert seen["lines"] == [segment.text for segment in whole.segments]
    assert seen["speakers"] == ["Anna", *(f"Name SPEAKER_0{number} …" for number in (1, 2, 3))]
    assert seen["copied"].count("\n") == len(whole.segments)
    assert seen["copied"].startswith(f"Anna: {whole.segments[0].text}\n")
    # And all of it is printed, with up to forty lines on a page
    assert seen["pages"] >= len(whole.segments) / 40
    # And a click on a line plays it, and marks it
    assert seen["playedFrom"] == pytest.approx(whole.segments[3].start, abs=1)
    assert seen["marked"] == 3
    # And what the page cannot write is to be had with a command, and the page was not blocked for long
    assert f"natscribe result {task.task_id} --format srt" in seen["problem"]
    print(f"the main thread was blocked for {seen['blocked']:.0f} ms at most")
    assert seen["blocked"] <= BLOCKED_MS


async def test_many_tasks_with_hostile_names_are_text_and_quick(tmp_path: Path) -> None:
    # Given 200 tasks whose names and errors would be markup
    tasks = [listed(number, f"{number} {HOSTILE.replace('/', '')}") for number in reversed(range(TASKS))]
    async with site_in(tmp_path) as site, streams_of(site) as client:
        await client.subscribe(subjects.LIST, cb=lists(tasks))
        visiting = asyncio.create_task(site.visit("list", count=TASKS, filter="199 "))
        # And the first of them runs
        event = ProgressEvent.model_validate(
            json.loads(tasks[0].model_dump_json())
            | {"sequence": 2, "max_attempts": 4, "state": "running", "stage": "transcribing", "progress": 42}
            | {"time": datetime.now(UTC).isoformat()}
        )
        while not visiting.done():
            await client.publish(subjects.progress("t199"), event.model_dump_json().encode())
            await asyncio.sleep(0.5)
        seen = await visiting
    # Then the list shows it, and names stay text
    assert seen["first"][0] == tasks[0].audio_file_id
    assert seen["first"][1:3] == ["Running", "Transcribing, 42%"]
    assert seen["dialogs"] == []
    assert set(seen["elements"]) == {"li", "a", "bdi", "span", "p", "progress", "time"}
    # And the page was never blocked for long
    print(f"the main thread was blocked for {seen['blocked']:.0f} ms at most")
    assert seen["blocked"] <= BLOCKED_MS
    assert seen["filtered"] == [tasks[0].audio_file_id]


async def test_the_drawer_shows_the_newest_messages_and_repeated_ones_once(tmp_path: Path) -> None:
    # Given a page with an open drawer, which has listed the tasks
    async with site_in(tmp_path) as site, streams_of(site) as client:
        await client.subscribe(subjects.LIST, cb=lists([listed(0, "meeting.wav")]))
        visiting = asyncio.create_task(site.visit("drawer", last="progress.last"))
        await eventually((tmp_path / "open").exists, within=WITHIN_S)
        # When more messages come than it shows
        for task in [*map(str, range(TASKS + 20)), "last"]:
            event = {"task_id": task, "user_id": 0, "sequence": 1, "state": "running", "progress": 1}
            await client.publish(subjects.progress(task), json.dumps(event).encode())
        seen = await visiting
    # Then it shows the newest ones, first the last one
    assert len(seen["subjects"]) == TASKS
    newest = [subject for subject in seen["subjects"] if subject != subjects.LIST]
    assert newest == [f"progress.{task}" for task in ["last", *reversed(range(TASKS + 20))]][: len(newest)]
    # And once the list, which the page may have requested again, and its reply
    assert seen["subjects"].count(subjects.LIST) <= 2


async def test_ten_thousand_messages_and_hostile_ones_do_not_stop_the_page(tmp_path: Path) -> None:
    # Given a page with an open drawer
    known = listed(0, "meeting.wav")
    event = {"task_id": known.task_id, "user_id": 0, "state": "running", "stage": "transcribing", "progress": 1}
    huge = {"task_id": "huge", "user_id": 0, "sequence": 1, "state": "running", "audio_file_id": HOSTILE * 10_000}
    async with site_in(tmp_path) as site, streams_of(site) as client:
        await client.subscribe(subjects.LIST, cb=lists([known]))
        visiting = asyncio.create_task(site.visit("drawer", last="progress.last"))
        await eventually(lambda: (tmp_path / "open").exists() or visiting.done(), within=WITHIN_S)
        # When NATS sends what the service never would: no JSON, no object, no task, markup, and very much of it
        for number, body in enumerate([*HOSTILE_BODIES, json.dumps(huge).encode()]):
            await client.publish(subjects.progress(f"hostile{number}"), body)
        # And ten thousand events of a task
        for sequence in range(MESSAGES):
            numbered = event | {"sequence": sequence, "error": {"code": HOSTILE, "message": HOSTILE}}
            await client.publish(subjects.progress(known.task_id), json.dumps(numbered).encode())
        await client.publish(subjects.progress("last"), json.dumps(event | {"task_id": "last", "sequence": 1}).encode())
        seen = await visiting
    # Then the drawer shows the newest ones, what is no task is in no list, and nothing was run or complained about
    assert len(seen["subjects"]) == TASKS
    assert len(seen["tasks"]) == 3  # the two whose events came, and the one with the name of markup
    assert "meeting.wav" in seen["tasks"]
    assert seen["complaints"] == []
    # And the page was never blocked for long
    print(f"the main thread was blocked for {seen['blocked']:.0f} ms at most")
    assert seen["blocked"] <= BLOCKED_MS


async def test_the_time_that_is_left_is_shown_once_two_estimates_agree(tmp_path: Path) -> None:
    # Given a task whose first estimate is too high
    known, began = listed(1, "meeting.wav"), datetime.now(UTC)
    estimates = [(5, 10, 300), (5, 12, 298), (10, 12, 148), (20, 24, 130), (50, 60, 75)]  # percent, time, seconds left
    async with site_in(tmp_path) as site, streams_of(site) as client:
        await client.subscribe(subjects.LIST, cb=lists([known]))
        visiting = asyncio.create_task(site.visit("estimates", name="meeting.wav"))
        await eventually((tmp_path / "open").exists, within=WITHIN_S)
        for sequence, (percent, seconds, eta) in enumerate([*estimates, (100, 130, None)], start=1):
            event = {"task_id": "t1", "user_id": 0, "sequence": sequence, "attempt": 1, "progress": percent}
            event |= {"eta_seconds": eta, "stage": "transcribing"}
            event |= {"state": "running" if eta else "completed", "time": str(began + timedelta(seconds=seconds))}
            await client.publish(subjects.progress("t1"), json.dumps(event).encode())
        seen = await visiting
    # Then the page shows none until two estimates of different audio agree
    assert list(dict.fromkeys(seen["noted"])) == [
        "Transcribing, 5%",
        "Transcribing, 10%",
        "Transcribing, 20%, about 2 min left",
        "Transcribing, 50%, about 75 s left",
        "",
    ]
