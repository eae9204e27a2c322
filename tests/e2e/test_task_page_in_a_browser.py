"""The page of a task, in a real browser: printed, switched, tried again, dropped on, and its speakers enrolled."""

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg
from nats.js.api import ObjectMeta, ObjectMetaOptions
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode, ErrorDetail, ErrorReply
from natscribe.schemas.progress import State
from natscribe.schemas.request_errors import no_embeddings, similar_voice
from natscribe.schemas.requests import TaskRequest
from natscribe.schemas.transcription import TranscriptionResult
from natscribe.schemas.voices import MIN_REFERENCE_S, Consent, EnrollRequest
from natscribe.schemas.wire import Model
from natscribe.transcript_page import page

from app.engines.diarization import VOICE_NETWORK
from app.engines.messages import RecordingEmbeddings, SpeakerEmbedding
from app.runtime.errors import RequestError
from app.speech.voices.enrolment import chosen_speaker
from tests.e2e.browser import NEEDS_CHROMIUM, WITHIN_S
from tests.e2e.page_service import (
    listed,
    lists,
    recording,
    results_of,
    serve_results,
    statuses,
    streams_of,
)
from tests.e2e.web_page import site_in
from tests.unit.formats.test_transcript_page import HOSTILE, segment_of, talk, transcript
from tests.waiting import eventually

pytestmark = [NEEDS_CHROMIUM, pytest.mark.timeout(300)]


def result(task_id: str, text: str = "It was said.") -> TranscriptionResult:
    segments = [segment_of(0, text, "SPEAKER_00"), segment_of(2, text, "SPEAKER_01")]
    return transcript(*segments, task_id=task_id, audio_file_id=f"{task_id}.wav", duration=4, speakers=2)


def spoken(task_id: str, seconds: float) -> TranscriptionResult:
    """A translation from Russian: SPEAKER_00 speaks for so long, and SPEAKER_01 for 1.5 s."""
    first = segment_of(0, "It was said.", "SPEAKER_00", "ru", end=seconds)
    second = segment_of(seconds, "And that.", "SPEAKER_01", "ru")
    names = {"task_id": task_id, "audio_file_id": f"{task_id}-said.wav", "duration": seconds + 2}
    return transcript(first, second, **names, language="ru", languages={}, speakers=2)


async def test_the_whole_transcript_is_printed_by_the_menu_of_the_browser(tmp_path: Path) -> None:
    # Given a transcript of many pages
    whole = transcript(*talk(4_000), task_id="t0", audio_file_id="meeting.wav", duration=1_500, speakers=4)
    alone = tmp_path / "alone.html"
    alone.write_text(page(whole), encoding="utf-8")
    async with site_in(tmp_path) as site, streams_of(site) as client:
        await serve_results(client, recording(tmp_path, 20).read_bytes(), whole)
        # When it is printed without the button of the page
        seen = await site.visit("printed", task="t0", alone=str(alone))
    # Then all of it is printed, on as many pages as the file that the service writes
    assert sum(line.count("It was said") for line in seen["lines"]) == len(whole.segments)
    assert seen["pages"] == pytest.approx(seen["pagesAlone"], abs=1)
    assert seen["pages"] > 5
    # And the button of the page does the same
    assert seen["isPrintedByButton"]
    # And the printed file has its name, and the page is as it was before
    assert seen["title"] == "meeting.wav · Natscribe"
    assert not seen["isLeft"]


async def test_a_transcript_that_comes_late_is_not_shown_for_another_task(tmp_path: Path) -> None:
    # Given two transcripts
    one, other = result("one", "Said in one."), result("other", "Said in the other.")
    event = {"task_id": "last", "audio_file_id": "last.wav", "user_id": 0, "sequence": 1, "state": "queued"}
    waiting: list[Msg] = []
    async with site_in(tmp_path) as site, streams_of(site) as client:
        write = results_of(client, one, other)

        async def late(message: Msg) -> None:
            waiting.append(message)
            if b'"other"' not in message.data:
                return
            # When that of the second task comes before that of the first, which was requested earlier
            for request in reversed(waiting):
                await write(request)
            await client.publish(subjects.progress("last"), json.dumps(event).encode())

        await serve_results(client, recording(tmp_path, 4).read_bytes(), one, other, replies_with_results=False)
        await client.subscribe(subjects.RESULT, cb=late)
        seen = await site.visit("switched", tasks=["one", "other"], last="last.wav")
    # Then the page of the second task shows the second one
    assert seen["name"] == "other.wav"
    assert seen["lines"] == ["Said in the other."] * 2


async def test_a_recording_is_not_loaded_for_a_page_that_was_left(tmp_path: Path) -> None:
    # Given two tasks, of a recording of 20 MB and one of 4 MB
    async with site_in(tmp_path) as site, streams_of(site) as client:
        await serve_results(client, recording(tmp_path, 125).read_bytes(), result("one"), result("other"))
        bucket = await client.jetstream().object_store("audio")
        chunks = ObjectMeta(options=ObjectMetaOptions(max_chunk_size=128 * 1024))
        await bucket.put("one.wav", recording(tmp_path, 625).read_bytes(), chunks)
        # When the page of the first is left for the second while it loads its recording
        seen = await site.visit("left", tasks=["one", "other"])
    # Then the page of the second says nothing of the first
    assert [words for words in seen["noted"] if words and not words.endswith("of 4 MB")] == []


async def test_a_result_that_could_not_be_read_is_read_again(tmp_path: Path) -> None:
    whole = result("t0")
    async with site_in(tmp_path) as site, streams_of(site) as client:
        await serve_results(client, recording(tmp_path, 4).read_bytes(), whole, replies_with_results=False)
        visiting = asyncio.create_task(site.visit("unread", task="t0"))
        # Given a page that has found no worker that replies with the result
        await eventually((tmp_path / "unread").exists, within=WITHIN_S)
        # When a worker replies again
        await client.subscribe(subjects.RESULT, cb=results_of(client, whole))
        seen = await visiting
    # Then the page shows the transcript without a reload
    assert seen["problem"] == "No Natscribe runs at this NATS. Start a worker, then try again."
    assert seen["lines"] == ["It was said."] * 2


async def test_a_task_that_was_tried_again_can_be_cancelled(tmp_path: Path) -> None:
    # Given a task that failed for a reason that may be over
    failed = listed(0, "meeting.wav")
    tasks = [failed]
    async with site_in(tmp_path) as site, streams_of(site) as client:

        async def cancel(message: Msg) -> None:
            task_id = TaskRequest.model_validate_json(message.data).task_id
            tasks.insert(0, failed.model_copy(update={"task_id": task_id, "state": State.CANCELLED, "error": None}))
            await message.respond(tasks[0].model_dump_json().encode())

        await client.subscribe(subjects.LIST, cb=lists(tasks))
        await client.subscribe(subjects.STATUS, cb=statuses([failed]))
        await client.subscribe(subjects.CANCEL, cb=cancel)
        await client.subscribe(subjects.DELETE, cb=deleted)
        # When it is tried again, and cancelled
        seen = await site.visit("again", task="t0", name="meeting.wav")
        stored = await client.jetstream().get_last_msg("transcription_tasks", "tasks.transcription.*")
    # Then the new task was published, and is the one that was cancelled
    assert [seen["task"], "t0"] == [task.task_id for task in tasks]
    assert json.loads(stored.data or b"")["task_id"] == seen["task"]
    # And before its deletion the page says that the first one has the same recording
    assert "Other tasks have the same recording" in seen["question"]


async def deleted(message: Msg) -> None:
    await message.respond(message.data)


async def test_files_are_dropped_on_a_transcript_but_no_folders(tmp_path: Path) -> None:
    # Given the transcript of a task
    (tmp_path / "recordings").mkdir()
    async with site_in(tmp_path) as site, streams_of(site) as client:
        await serve_results(client, recording(tmp_path, 4).read_bytes(), result("t0"))
        # When a recording is dropped on it, and then a folder on the page
        file, folder = recording(tmp_path, 1), tmp_path / "recordings"
        seen = await site.visit("dropped", task="t0", file=str(file), name=file.name, directory=str(folder))
    # Then the recording is uploaded, and the folder refused for good
    assert seen["problem"] == "The file cannot be read, or is a folder: choose a file again."
    assert not seen["canRetry"]


def refusal(seconds: float, agreement: float) -> ErrorDetail:
    """The error with which the service refuses a speaker with so much speech, and such agreement."""
    speaker = SpeakerEmbedding(speaker="SPEAKER_00", seconds=seconds, agreement=agreement, values="", telephone="")
    embedded = RecordingEmbeddings(model=Model(name="m", revision="r"), speakers=[speaker])
    consent = Consent(by="Anna", at=datetime(2026, 11, 24, tzinfo=UTC))
    request = EnrollRequest(user_id=0, task_id="t0", speaker="SPEAKER_00", name="Anna", consent=consent)
    with pytest.raises(RequestError) as refused:
        chosen_speaker(embedded, request)
    return refused.value.detail


async def test_a_refused_enrolment_says_in_the_words_of_the_page_what_to_do(tmp_path: Path) -> None:
    # Given a service that refuses a speaker for each reason, and at last because Anna sounds the same
    refusals = [
        refusal(MIN_REFERENCE_S - 3, 1),
        refusal(MIN_REFERENCE_S, VOICE_NETWORK.min_agreement - 0.1),
        no_embeddings("t0"),
        similar_voice("SPEAKER_00", "1" * 32),  # who was forgotten in the meantime
        similar_voice("SPEAKER_00", "0" * 32),
    ]
    requests: list[dict[str, Any]] = []

    async def enroll(message: Msg) -> None:
        requests.append(json.loads(message.data))
        remaining = refusals[len(requests) - 1 :]
        reply = ErrorReply(error=remaining[0]).model_dump_json() if remaining else "{}"
        await message.respond(reply.encode())

    async def voices(message: Msg) -> None:
        reply = {"voices": [{"voice": "0" * 32, "name": "Anna"}], "more_after": None}
        await message.respond(json.dumps(reply).encode())

    async with site_in(tmp_path) as site, streams_of(site) as client:
        await serve_results(client, recording(tmp_path, 4).read_bytes(), spoken("t0", MIN_REFERENCE_S))
        await client.subscribe(subjects.ENROLL, cb=enroll)
        await client.subscribe(subjects.VOICES, cb=voices)
        # When somebody enrols this speaker as Anna, and then under another name
        seen = await site.visit("refusals", task="t0", person="Anna", more=" Berg", refusals=len(refusals))
    # Then each refusal names the next step, and no message of the contract
    first_words = [
        "SPEAKER_00 speaks alone for only 12 s, and 15 s are needed. Enrol",
        "SPEAKER_00 sounds like two people. Enrol",
        "This recording is no longer known well enough. Transcribe it again",
        "SPEAKER_00 sounds like a person who is enrolled already. Try again",
        "Anna is enrolled already, and SPEAKER_00 sounds the same. Add this recording to Anna",
    ]
    for problem, words in zip(seen["problems"], first_words, strict=True):
        assert problem.startswith(words)
    # And two people need two names
    assert not seen["isValid"]
    assert seen["said"] == "Anna Berg is enrolled: this transcript and the next recordings show the name."
    assert [request.get("another") for request in requests] == [None] * 5 + [True]


async def enrolled(message: Msg) -> None:
    await message.respond(b"{}")


async def test_a_translation_is_named_as_such_and_its_speakers_by_their_new_names(tmp_path: Path) -> None:
    async with site_in(tmp_path) as site, streams_of(site) as client:
        # Given a translation, of which one speaker has spoken for long enough
        audio = recording(tmp_path, 4).read_bytes()
        await serve_results(client, audio, spoken("t0", MIN_REFERENCE_S), translate=True)
        await client.subscribe(subjects.ENROLL, cb=enrolled)
        # When somebody plays it, and names its speakers
        seen = await site.visit("translated", task="t0", person=HOSTILE[:40], steps=[1, 1])
    # Then it says from which language it was translated
    assert set(seen["languages"]) == {"Translated from Russian"}
    # And the key for that has played it, although the title has the focus
    assert seen["focus"] == "task-name"
    # And the other speaker is refused before anybody gives a name
    assert seen["said"].startswith("SPEAKER_01 speaks alone for only 1 s, and 15 s are needed.")
    assert not seen["isAsked"]
    # And the new name is shown at once, after a reload, and in copies, as text whatever it is
    assert seen["speakers"] == seen["again"] == [HOSTILE[:40], "SPEAKER_01"]
    assert seen["copied"].splitlines()[0] == f"{HOSTILE[:40]}: It was said."
    # And the arrows move in the menu of formats
    assert seen["chosen"] == "srt"


async def test_the_texts_of_a_transcript_are_russian_in_a_russian_browser(tmp_path: Path) -> None:
    async with site_in(tmp_path) as site, streams_of(site) as client:
        await serve_results(client, recording(tmp_path, 4).read_bytes(), spoken("t0", MIN_REFERENCE_S))
        await client.subscribe(subjects.ENROLL, cb=enrolled)
        seen = await site.visit("translated", task="t0", person="Recording", steps=[1], accept="ru")
    assert seen["facts"][1:3] == ["русский", "говорящих: 2"]
    assert any(fact.startswith("24 ноября 2026") and fact.endswith(" 09:30 UTC") for fact in seen["facts"])
    assert set(re.findall("[A-Za-z]{3,}", " ".join(seen["facts"]))) == {"SHA", "Shift", "UTC"}
    # And a name stays what it is, also that of a text of the page
    assert seen["again"] == ["Recording", "SPEAKER_01"]


async def test_a_task_with_an_unknown_model_is_published_again_without_it(tmp_path: Path) -> None:
    # Given a task whose model is not offered
    error = ErrorDetail(code=ErrorCode.UNKNOWN_MODEL, message="The model 'gpt' is not offered here: name whisper-base.")
    failed = [listed(0, "meeting.wav").model_copy(update={"error": error})]
    async with site_in(tmp_path) as site, streams_of(site) as client:
        await client.subscribe(subjects.LIST, cb=lists(failed))
        await client.subscribe(subjects.STATUS, cb=statuses(failed, model="gpt"))
        # When somebody does the step that the page offers
        seen = await site.visit("unoffered", task="t0")
        stored = await client.jetstream().get_last_msg("transcription_tasks", "tasks.transcription.*")
    # Then the page has said so in its own words, beside those of the service
    assert seen["about"].startswith("The service does not offer this model. Transcribe without naming one")
    assert seen["original"] == error.message
    assert seen["offered"] == ["Transcribe without this model", "Delete"]
    # And the recording is transcribed without the model
    assert "model" not in json.loads(stored.data or b"")
