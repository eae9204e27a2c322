"""The tab that records a microphone, in a real browser: spoken to, cut off, refused, and sent hostile text."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import nats
import numpy as np
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from natscribe.jetstream.streams import public_streams
from natscribe.mock import Mock
from natscribe.mock.live import UTTERANCE_S
from natscribe.schemas import examples, subjects
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.headers import FINALIZE
from natscribe.schemas.live import LiveTask, Partial
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.transcription import SegmentsEvent, TranscriptionResult
from natscribe.schemas.wire import Kind
from pydantic import BaseModel

from tests.e2e.browser import NEEDS_CHROMIUM, WITHIN_S
from tests.e2e.conftest import running
from tests.e2e.microphone import check_colours, recorded, seconds_of, stored_in
from tests.e2e.web_page import Site, copied_site
from tests.servers import valkey_in
from tests.truth.recordings import CLIPS, RATE, read, words_of, write
from tests.truth.words import word_error_rate
from tests.unit.formats.test_transcript_page import HOSTILE
from tests.waiting import eventually

pytestmark = NEEDS_CHROMIUM


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with copied_site(tmp_path) as site:
        yield site


@pytest.fixture
async def mock(site: Site) -> AsyncIterator[None]:
    """A service that publishes `Good morning.` every four seconds, whatever the audio."""
    async with Mock(site.settings):
        yield


@pytest.fixture
async def js(site: Site) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(site.settings.nats_url)
    yield client.jetstream()
    await client.close()


async def test_a_person_speaks_and_reads(site: Site, mock: None, js: JetStreamContext, tmp_path: Path) -> None:
    # Given a page of a file server, and nine seconds of speech
    observed = await site.speak("desktop", seconds=9.5)
    # Then the text is there, with words that turned firm before the others, which are grey
    assert observed["complaints"] == []
    assert observed["lines"][:2] == ["Good morning.", "Good morning."]
    assert ["Good", " morning."] in observed["partials"]
    assert observed["partialIsHidden"]
    check_colours(*observed["colours"])
    # And the page has shown its states, and no problem
    assert observed["states"] == ["Asking for the microphone …", "Connecting …", *observed["states"][2:-1], "Done"]
    assert {"Listening", "Writing the rest …"} <= set(observed["states"])
    assert [words for words in observed["problems"] if words] == []
    # And the text can be copied, and downloaded as a file
    text = "\n".join(observed["lines"])
    assert observed["copied"] == text
    assert (tmp_path / "text.txt").read_text(encoding="utf-8") == f"{text}\n"
    # And the audio is stored as it was recorded
    assert seconds_of(await stored_in(js)) == pytest.approx(recorded(observed["lags"]), abs=1.2)


async def test_a_person_requests_the_text_with_the_space_bar(site: Site, mock: None, js: JetStreamContext) -> None:
    # Given a person who presses the space bar twice while recording
    observed = await site.speak("finalized", seconds=5.5)
    # Then both have requested the text, of all audio before, and the recording went on
    state = (await js.stream_info("transcription_live")).state
    frames = [await js.get_msg("transcription_live", number) for number in range(1, state.last_seq + 1)]
    marks = [frame.headers[FINALIZE] for frame in frames if frame.headers and FINALIZE in frame.headers]
    state = (await js.stream_info("transcription_segments")).state
    stored = [await js.get_msg("transcription_segments", number) for number in range(1, state.last_seq + 1)]
    events = [SegmentsEvent.model_validate_json(message.data or b"") for message in stored]
    assert [mark for event in events for mark in event.finalized] == marks
    assert len(set(marks)) == 2
    assert observed["lines"][-1].startswith("Good")
    assert len(frames) > 10
    # And there is nothing to request after the end
    assert observed["isHidden"]
    assert [words for words in observed["problems"] if words] == []
    assert observed["complaints"] == []


async def test_a_person_speaks_to_a_phone_and_reads_the_speakers(site: Site, mock: None) -> None:
    # Given a phone in dark mode, and a request for speakers
    observed = await site.speak("phone", seconds=9.5)
    # Then the text has speakers at the end, and there is no horizontal scrolling
    assert observed["complaints"] == []
    assert observed["speakers"][:2] == ["SPEAKER_00", "SPEAKER_01"]
    assert (observed["width"], observed["openWidth"]) == (390, 390)
    check_colours(*observed["colours"])


async def test_a_reload_keeps_the_last_task_and_the_choice_of_speakers(site: Site, mock: None) -> None:
    # Given somebody who has asked for speakers and recorded, when the page is loaded again
    observed = await site.speak("kept", seconds=9.5)
    # Then the text is still there, with its speakers in different colours, and the choice for the next recording
    again = observed["again"]
    assert again["lines"] == observed["lines"] != []
    assert again["speakers"] == observed["speakers"]
    assert again["colours"] == observed["colours"]
    assert len(set(observed["colours"])) == len(set(observed["speakers"])) == 2
    assert (again["isChosen"], again["canCopy"]) == (True, True)
    # And a page that is loaded again while it records shows the text so far
    interrupted = observed["interrupted"]
    assert interrupted["lines"][0] == "Good morning."
    assert interrupted["isChosen"]
    assert interrupted["notice"].startswith("The recording has ended, because this page was loaded again.")


async def test_a_lost_connection_loses_no_audio(site: Site, mock: None, js: JetStreamContext) -> None:
    # Given speech, when the WebSocket is interrupted for four seconds
    observed = await site.speak("cut", seconds=11, cut={"at": 3, "seconds": 4})
    # Then the page has shown it, and all audio is stored once, in order
    assert "NATS is away: your audio is kept" in observed["states"]
    assert seconds_of(await stored_in(js)) == pytest.approx(recorded(observed["lags"]), abs=1.2)
    # And the text that came meanwhile is there once
    assert observed["lines"][:2] == ["Good morning.", "Good morning."]
    assert len(observed["lines"]) <= 1 + recorded(observed["lags"]) / UTTERANCE_S


@pytest.fixture
async def client(site: Site) -> AsyncIterator[Client]:
    """A client of NATS with the streams of the service, and without a worker."""
    connected = await nats.connect(site.settings.nats_url)
    for stream in public_streams(site.settings.stream_names):
        await connected.jetstream().add_stream(stream)
    yield connected
    await connected.close()


async def submitted(site: Site, client: Client, visit: str = "hostile") -> tuple[asyncio.Task[dict[str, Any]], str]:
    """A visit that has submitted a live task, and the id of the task."""
    tasks = await client.subscribe("tasks.live.normal")
    visiting = asyncio.create_task(site.speak(visit))
    return visiting, LiveTask.model_validate_json((await tasks.next_msg(WITHIN_S)).data).task_id


async def append(client: Client, subject: str, event: BaseModel) -> None:
    await client.jetstream().publish(subjects.append_to(subject), event.model_dump_json().encode())


def ended(task_id: str, state: State, error: ErrorDetail | None = None) -> ProgressEvent:
    how = {"kind": Kind.TRANSCRIPTION, "state": state, "error": error, "sequence": 1, "attempt": 1, "max_attempts": 1}
    return ProgressEvent.model_validate({"task_id": task_id, "time": datetime.now(UTC)} | how)


async def complete(client: Client, task_id: str, **fields: object) -> TranscriptionResult:
    """Publish the end of a task, and reply to the request for its result, which has these fields."""
    results = await client.subscribe(subjects.RESULT)
    await append(client, subjects.progress(task_id), ended(task_id, State.COMPLETED))
    result = examples.RESULT.model_copy(update={"task_id": task_id} | fields)
    await (await results.next_msg(WITHIN_S)).respond(result.model_dump_json().encode())
    return result


async def test_hostile_text_stays_text(site: Site, client: Client) -> None:
    # Given a page that has submitted a task
    visiting, task_id = await submitted(site, client)
    # When it receives messages that are not the service's, and text that would be markup
    for body in (b"no JSON", b"null", b"\xff"):
        await client.publish(subjects.partials(task_id), body)
        await client.jetstream().publish(subjects.append_to(subjects.segments(task_id)), body)
    hostile_segment = examples.SEGMENT.model_copy(update={"text": HOSTILE})
    partial = Partial(task_id=task_id, start=0, end=1, stable="", text=HOSTILE)
    await client.publish(subjects.partials(task_id), partial.model_dump_json().encode())
    batch = SegmentsEvent(
        task_id=task_id, attempt=1, sequence=1, language="en", processed_seconds=2, segments=[hostile_segment]
    )
    await append(client, subjects.segments(task_id), batch)
    await complete(client, task_id, segments=[hostile_segment.model_copy(update={"speaker": HOSTILE})], speakers=1)
    observed = await visiting
    # Then the page shows all of it as it is, and runs none of it
    assert observed["complaints"] == []
    assert ["", HOSTILE] in observed["partials"]
    assert observed["lines"] == [HOSTILE]
    assert observed["speakers"] == [HOSTILE]
    assert observed["dialogs"] == []
    assert set(observed["elements"]) <= {"p", "span", "div", "time", "b", "ul", "li"}


async def test_text_that_comes_later_than_the_end_is_shown_with_the_result(site: Site, client: Client) -> None:
    # Given a page that has submitted a task
    visiting, task_id = await submitted(site, client)
    # When it receives the end of the task before the text, and then the result, which has no speakers
    result = await complete(client, task_id, speakers=None)
    observed = await visiting
    # Then the page shows the text of the result
    assert observed["lines"] == [segment.text for segment in result.segments]


async def speakers_after(site: Site, client: Client, *events: dict[str, Any]) -> dict[str, Any]:
    """What a page observes of two lines whose speakers, SPEAKER_0 and SPEAKER_2, become known by these events."""
    voices = await client.subscribe("voices.list")
    visiting, task_id = await submitted(site, client)
    first, second = (examples.SEGMENT.model_copy(update={"start": at, "end": at + 2.0}) for at in (0.0, 2.0))
    batch = SegmentsEvent(
        task_id=task_id, attempt=1, sequence=1, language="en", processed_seconds=4, segments=[first, second]
    )
    await append(client, subjects.segments(task_id), batch)
    turns = [{"start": at, "end": at + 2, "speaker": f"SPEAKER_{at}"} for at in (0, 2)]
    for number, event in enumerate(events, start=1):
        whole = {"task_id": task_id, "sequence": number, "turns": turns, "same": [], "settled_until": 0} | event
        await client.publish(f"speakers.{task_id}", json.dumps(whole).encode())
        reply = json.dumps({"voices": [{"voice": "v", "name": HOSTILE}]}).encode()
        await (await voices.next_msg(WITHIN_S)).respond(reply)
    await complete(client, task_id, speakers=None)
    observed = await visiting
    assert observed["dialogs"] == []
    return observed


def voice_of(speaker: str, voice: str | None) -> dict[str, Any]:
    return {"voices": {speaker: {"voice": voice, "name": None, "score": 0.9}}}


async def test_speakers_that_become_known_later_are_shown(site: Site, client: Client) -> None:
    # When it becomes known who spoke two lines, one of them a voice with a name
    same = [{"speaker": "SPEAKER_2", "is": "SPEAKER_1"}]
    observed = await speakers_after(site, client, voice_of("SPEAKER_0", "v") | {"same": same})
    # Then the page says so
    assert observed["speakers"] == [HOSTILE, "SPEAKER_1"]


async def test_a_name_that_is_withdrawn_is_shown_no_longer(site: Site, client: Client) -> None:
    # When a speaker has a name, and it turns out to be somebody else
    withdrawn = voice_of("SPEAKER_0", None)
    observed = await speakers_after(site, client, voice_of("SPEAKER_0", "v"), withdrawn)
    # Then the page shows the label again
    assert observed["speakers"] == ["SPEAKER_0", "SPEAKER_2"]


async def test_a_page_without_a_worker_shows_how_far_its_text_is_behind(
    site: Site, client: Client, tmp_path: Path
) -> None:
    # Given a service without workers, when a person speaks
    results = await client.subscribe(subjects.RESULT)
    visiting, task_id = await submitted(site, client, "waiting")
    # And a worker comes when the visitor has seen enough
    await eventually(partial(asyncio.to_thread, (tmp_path / "waiting-phone.webp").exists), within=WITHIN_S)
    await append(client, subjects.progress(task_id), ended(task_id, State.COMPLETED))
    # And another one is frozen, which gets the first request for the result
    result = examples.RESULT.model_copy(update={"task_id": task_id})
    await results.next_msg(WITHIN_S)
    await (await results.next_msg(WITHIN_S)).respond(result.model_dump_json().encode())
    observed = await visiting
    # Then the page has shown that it waits, and that the text is behind by all that was recorded
    assert observed["states"][2:4] == ["Listening", "Waiting for a worker: your audio is kept"]
    behind = {recorded([lag]): int(lag.split()[-3]) for lag in observed["lags"] if lag.endswith("behind")}
    assert list(behind) == list(behind.values())
    assert max(behind) >= 8
    # And at first it has said nothing, while the audio may just be on its way
    at_first = takewhile(lambda lag: not lag.endswith("behind"), observed["lags"])
    assert max(recorded([lag]) for lag in at_first) <= 2
    # And the result has come from the other one
    assert observed["notes"] == []


async def test_a_failure_is_shown_with_its_message(site: Site, client: Client) -> None:
    # Given a page that has submitted a task, when the task fails
    visiting, task_id = await submitted(site, client, "problem")
    error = ErrorDetail(code=ErrorCode.AUDIO_UNREADABLE, message=f"Second 3 cannot be read: speak again. {HOSTILE}")
    await append(client, subjects.progress(task_id), ended(task_id, State.FAILED, error))
    observed = await visiting
    # Then the page says why, and can be started again
    assert (observed["problem"], observed["button"]) == (error.message, "Start")


@pytest.mark.parametrize(
    ("settings", "problem", "opens"),
    [
        ({"server": "ws://127.0.0.1:9"}, "NATS does not answer at ws://127.0.0.1:9. Start it with", True),
        ({}, "No Natscribe runs at this NATS. Start a worker, then try again.", False),
        ({"isRefused": True}, "The page may not use the microphone. Allow it", False),
    ],
    ids=["no NATS", "no service", "no microphone"],
)
async def test_what_cannot_work_is_shown_with_the_next_step(
    site: Site, settings: Mapping[str, object], problem: str, opens: bool
) -> None:
    # Given something that is missing, when a person presses Start
    observed = await site.speak("problem", **settings)
    # Then the page says what to do, and can be started again
    assert observed["problem"].startswith(problem)
    assert (observed["button"], observed["connectionIsOpen"]) == ("Start", opens)


async def test_a_page_whose_scripts_do_not_run_shows_what_it_needs(site: Site) -> None:
    observed = await site.speak("withoutScripts")
    assert observed["hint"].startswith("This page needs JavaScript, and a server of files")
    assert observed["isDisabled"]


@pytest.mark.timeout(400)
async def test_the_words_of_a_recording_are_on_the_page(site: Site, tmp_path: Path) -> None:
    # Given three readings with pauses, and a worker
    clips = CLIPS[:3]
    silence = np.zeros(RATE, np.int16)
    recording = tmp_path / "said.wav"
    before = [silence] * 5  # a busy browser begins to record some seconds after the microphone is there
    parts = [*before, *(part for clip in clips for part in (read(clip), silence)), silence]
    write(recording, parts)
    options = {"sound": str(recording), "seconds": sum(map(len, parts)) / RATE + 1}
    async with valkey_in(tmp_path / "valkey") as valkey:
        settings = site.settings.model_copy(update={"redis_url": valkey.url})
        async with running(settings, tmp_path / "service.log"):
            # When they are read to the page, and the connection is lost in the middle
            observed = await site.speak("cut", **options, cut={"at": 9, "seconds": 4})
    # Then nearly each word is there
    assert word_error_rate(" ".join(map(words_of, clips)), " ".join(observed["lines"])) <= 0.1
