"""A live task from its first frame to its result, and what happens to its audio."""

import struct
from base64 import b64decode
from itertools import pairwise
from typing import Any
from unittest.mock import AsyncMock

import pytest
from natscribe.schemas.diarization import Turn
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.live import Codec, LiveAudio, LiveTask, SpeakerChanges, SpeakersEvent
from natscribe.schemas.redaction import AudioRedaction, EntityType, TaskRedaction
from natscribe.schemas.transcription import TranscriptionResult
from natscribe.schemas.voices import SpeakerVoice
from structlog.testing import capture_logs

from app.engines.messages import LiveAudioProcessed, ProcessLiveAudio, RedactAudio
from app.engines.windows import Window, WindowText
from app.runtime.errors import FencedError, PermanentError
from app.settings import Settings
from app.speech.live.audio_recording import STORE_ATTEMPTS, check_store
from app.speech.live.session import MAX_MARKS, SILENT_S
from app.speech.redacted_audio import MARGIN_S
from app.speech.updates import Checkpoint, NewText, Progress, RedactedAudio, Result, TaskUpdate
from app.speech.voices.identification import Identification, IdentificationOutcome
from tests.constants import Constants
from tests.fakes.echo import AUDIO, seconds
from tests.fakes.engine import REDACTED, SAMPLES, FakeEngine, live_diarization, segment
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import Parts
from tests.live_client import LiveClient
from tests.waiting import eventually

FRAMES = seconds(range(1, 26))
RECOGNIZED = SpeakerVoice(voice="a" * 32, name=None, score=0.7)
CALL = LiveAudio(codec=Codec.MULAW, sample_rate=8000, channels=2)


async def updates_of(
    parts: Parts,
    checkpoint: Checkpoint = Checkpoint(),  # noqa: B008 -- frozen
    frames: list[bytes] = FRAMES,
    audio: LiveAudio = AUDIO,
    first: int = 0,
    **options: object,
) -> list[TaskUpdate | Result]:
    """What a worker appends for a live task whose audio is all there; a client sends it from a frame on."""
    await LiveClient(parts.server.client, "live-1", frames, audio).send(first)
    task = LiveTask.model_validate({"task_id": "live-1", "user_id": 7, "audio": audio} | options)
    updates: list[TaskUpdate | Result] = []

    async def append(update: TaskUpdate) -> None:
        updates.append(update)

    result = await parts.live_transcriber.transcribe(task, checkpoint, append)
    return [*updates, result]


def result_in(updates: list[TaskUpdate | Result]) -> TranscriptionResult:
    assert isinstance(updates[-1], TranscriptionResult)
    return updates[-1]


def texts_in(updates: list[TaskUpdate | Result]) -> list[WindowText]:
    return [update.text for update in updates if isinstance(update, NewText)]


def progress_with_text(updates: list[TaskUpdate | Result]) -> list[Progress]:
    """The progress that follows each text."""
    return [
        after
        for before, after in pairwise(updates)
        if isinstance(before, NewText | SpeakerChanges) and isinstance(after, Progress)
    ]


def lag(parts: Parts) -> float:
    return parts.meter.registry.get_sample_value("natscribe_live_lag_seconds") or 0.0


async def test_each_utterance_has_its_text_and_how_much_of_the_audio_has_no_text_yet(parts: Parts) -> None:
    # Given 25 seconds of audio, of which the engine finds an utterance in each ten
    updates = await updates_of(parts)
    # Then one text comes after the other, and what is complete and has no text yet is behind
    assert [(update.processed_seconds, update.lag_seconds) for update in progress_with_text(updates)] == [
        (10, 5),
        (20, 0),
        (25, 0),
    ]
    assert (result_in(updates).text, result_in(updates).duration) == ("one two one two one two", 25)
    # And metrics say how long each took
    reported = [
        parts.meter.registry.get_sample_value(f"natscribe_live_final_delay_seconds_{of}") for of in ("count", "sum")
    ]
    assert reported == [3, pytest.approx(0, abs=60)]

    # And that nothing is behind when the task has ended, also after an error
    async def fail(_: TaskUpdate) -> None:
        assert lag(parts) > 0
        raise FencedError

    task = LiveTask(task_id="live-1", user_id=7, audio=AUDIO)
    assert lag(parts) == 0
    with pytest.raises(FencedError):
        await parts.live_transcriber.transcribe(task, Checkpoint(), fail)
    assert lag(parts) == 0


async def test_another_worker_continues_behind_the_text_that_is_there(parts: Parts) -> None:
    done = Checkpoint(language="en", processed_seconds=10, segments=(segment(0),), reached={None: 10.0})
    updates = await updates_of(parts, done)
    assert [update.processed_seconds for update in progress_with_text(updates)] == [20, 25]
    assert result_in(updates).text == "one two one two one two"


@pytest.mark.parametrize("word_timestamps", [False, True])
async def test_words_have_times_on_request(parts: Parts, word_timestamps: bool) -> None:
    segments = result_in(await updates_of(parts, word_timestamps=word_timestamps)).segments
    assert [part.words is not None for part in segments] == [word_timestamps] * 3


@pytest.mark.parametrize("failed_before", [False, True])
async def test_a_recording_is_diarized_once(parts: Parts, failed_before: bool) -> None:
    error = ErrorDetail(code=ErrorCode.ENGINE_FAILED, message="It died.") if failed_before else None
    result = result_in(await updates_of(parts, Checkpoint(diarization_error=error), diarize=True))
    assert (result.speakers, result.diarization_error) == ((None, error) if failed_before else (2, None))


async def test_channels_keep_their_speakers_when_the_search_for_voices_was_given_up(parts: Parts) -> None:
    error = ErrorDetail(code=ErrorCode.WORKER_LOST, message="It died.")
    checkpoint = Checkpoint(diarization_error=error)
    result = result_in(await updates_of(parts, checkpoint, audio=CALL, diarize=True, identify=True))
    assert (result.channels, result.diarization_error, result.voices, result.voices_error) == (2, error, None, error)


@pytest.mark.parametrize("identify", [False, True])
async def test_each_channel_is_diarized_at_the_end(nats: InMemoryNats, identify: bool) -> None:
    parts = Parts(nats, engine=(engine := FakeEngine()))
    result = result_in(await updates_of(parts, audio=CALL, diarize=True, identify=identify))
    assert (engine.diarized, result.channels) == (2, 2)
    # And the second channel, which has no speech, has no voice
    assert list(result.voices or ()) == ["SPEAKER_00"] * identify


@pytest.mark.parametrize(
    ("audio", "form"), [(AUDIO, (1, 1, 8000, 16_000, 2, 16)), (CALL, (7, 2, 8000, 16_000, 2, 8))], ids=["PCM", "µ-law"]
)
async def test_audio_is_stored_as_a_recording(parts: Parts, audio: LiveAudio, form: tuple[int, ...]) -> None:
    # When the audio of a task is to be stored
    updates = await updates_of(parts, audio=audio, keep_audio=True)
    assert result_in(updates).audio_error is None
    # Then it is a WAV under the task's id, of this format, with all frames
    async with parts.recordings.fetch("live-1") as recording:
        stores_audio = recording.path.read_bytes()
    assert (stores_audio[:4], stores_audio[8:16], stores_audio[36:40]) == (b"RIFF", b"WAVEfmt ", b"data")
    assert struct.unpack("<IHHIIHH", stores_audio[16:36]) == (16, *form)
    assert stores_audio[44:] == b"".join(FRAMES)


async def test_audio_that_is_a_file_already_is_stored_as_it_came(parts: Parts) -> None:
    await updates_of(parts, audio=LiveAudio(codec=Codec.OPUS, sample_rate=48_000), keep_audio=True)
    async with parts.recordings.fetch("live-1") as recording:
        assert recording.path.read_bytes() == b"".join(FRAMES)


async def test_audio_is_stored_without_what_is_redacted(nats: InMemoryNats) -> None:
    parts = Parts(nats, engine=(engine := FakeEngine()))
    engine.text = "card 4929 1333 8765 1204"
    redact = TaskRedaction(entities=(EntityType.CARD,), audio=AudioRedaction.SILENCE)
    # When the audio of a task is to be stored, and redacted
    updates = await updates_of(parts, keep_audio=True, redact=redact)
    # Then the same copy is stored as the recording and with the result
    (copy,) = [update for update in updates if isinstance(update, RedactedAudio)]
    async with parts.recordings.fetch("live-1") as recording:
        assert recording.path.read_bytes().startswith(REDACTED)
        assert recording.sha256 == copy.sha256
    # And without what was replaced, and a margin
    (job,) = [job for job in engine.received if isinstance(job, RedactAudio)]
    entities = result_in(updates).entities
    assert len(entities) == len(job.spans) > 0
    for entity, span in zip(entities, job.spans, strict=True):
        assert span.start == pytest.approx(max(entity.start - MARGIN_S, 0))
        assert span.end == pytest.approx(entity.end + MARGIN_S)


async def test_audio_that_cannot_be_redacted_costs_no_text_and_is_not_stored(nats: InMemoryNats) -> None:
    class Engine(FakeEngine):
        def _reply(self, job: Any) -> Any:
            if isinstance(job, RedactAudio):
                raise PermanentError(ErrorCode.AUDIO_TOO_LARGE, "There is too much audio.")
            return super()._reply(job)

    # When the redaction of the audio fails for good
    redact = TaskRedaction(entities=(EntityType.CARD,), audio=AudioRedaction.SILENCE)
    result = result_in(await updates_of(Parts(nats, engine=Engine()), keep_audio=True, redact=redact))
    # Then the result has the text and says why there is no audio
    assert result.segments
    assert result.audio_error is not None
    assert (result.audio_error.code, result.redacted_audio) == (ErrorCode.AUDIO_TOO_LARGE, None)
    assert nats.streams["OBJ_audio"].messages == []


@pytest.mark.parametrize("diarize", [False, True])
async def test_audio_that_nobody_wants_to_store_is_no_recording(
    parts: Parts, nats: InMemoryNats, diarize: bool
) -> None:
    await updates_of(parts, diarize=diarize)
    assert nats.streams["OBJ_audio"].messages == []


async def test_audio_that_cannot_be_stored_costs_no_text(
    parts: Parts, nats: InMemoryNats, constants: Constants
) -> None:
    # Given a store of recordings that is not there
    constants(STORE_RETRY_S=0, RETRY_UPLOAD_FOR_S=0)
    del nats.streams["OBJ_audio"]
    # When the audio of a task is to be stored
    with capture_logs() as lines:
        result = result_in(await updates_of(parts, keep_audio=True))
    # Then that is tried several times, and the result says that it is not stored
    tries_left = [line["tries_left"] for line in lines if line["event"] == "audio_not_stored"]
    assert tries_left == [*reversed(range(STORE_ATTEMPTS))]
    assert result.text == "one two one two one two"
    assert result.audio_error is not None
    assert "AUDIO_STORE" in result.audio_error.message


def test_audio_is_stored_only_where_recordings_can_be_stored() -> None:
    reads, stores = (Settings(_env_file=None, audio_store=store) for store in ("https://a.example/", "nats://audio"))
    stores_audio, stores_none = (
        LiveTask(task_id="live-1", user_id=7, audio=AUDIO, keep_audio=keep_audio) for keep_audio in (True, False)
    )
    check_store(stores_audio, stores)
    check_store(stores_none, reads)
    with pytest.raises(PermanentError, match="keep_audio"):
        check_store(stores_audio, reads)


async def test_a_name_that_is_found_at_the_end_takes_nothing_settled_back(
    nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a speaker whose voice is recognized only in the whole recording
    engine, outcome = FakeEngine(), IdentificationOutcome({"SPEAKER_00": RECOGNIZED})
    engine.live_speakers = [live_diarization()] * 3
    monkeypatch.setattr(Identification, "compare", AsyncMock(return_value=outcome))
    # When the audio ends
    updates = await updates_of(Parts(nats, engine=engine), diarize=True, identify=True)
    # Then all of it is settled before and after the name is published
    changes = [update for update in updates if isinstance(update, SpeakerChanges)]
    assert [(change.settled_until, dict(change.voices)) for change in changes] == [(25, {}), (25, outcome.voices)]


async def test_another_worker_does_not_repeat_a_name(nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a speaker whom an earlier attempt has named
    engine, outcome = FakeEngine(), IdentificationOutcome({"SPEAKER_00": RECOGNIZED})
    engine.live_speakers = [live_diarization()] * 3
    monkeypatch.setattr(Identification, "compare", AsyncMock(return_value=outcome))
    voices = {"SPEAKER_00": RECOGNIZED}
    named = SpeakersEvent(task_id="live-1", sequence=1, turns=[], same=[], voices=voices, settled_until=5)
    # When another attempt finds the same, then it publishes no name
    checkpoint = Checkpoint(speaker_changes=(named,))
    updates = await updates_of(Parts(nats, engine=engine), checkpoint, diarize=True, identify=True)
    assert [update.voices for update in updates if isinstance(update, SpeakerChanges)] == [{}]


async def test_a_label_that_was_merged_is_nobody_elses_in_the_result(nats: InMemoryNats) -> None:
    # Given one person in live audio, two labels of whom were merged, and two people in its diarization as a recording
    engine, turn = FakeEngine(), Turn(start=0, end=30, speaker="SPEAKER_00")
    merged = live_diarization(turn, merged={"SPEAKER_01": "SPEAKER_00"}, labels=["SPEAKER_00"])
    engine.live_speakers = [merged] * 3
    result = result_in(await updates_of(Parts(nats, engine=engine), diarize=True))
    # Then the second person has a label that was never published
    assert {part.speaker for part in result.segments} == {"SPEAKER_00", "SPEAKER_02"}


class Late(FakeEngine):
    """Transcribes when all audio is processed."""

    async def transcribes(self, number: int) -> None:  # noqa: ARG002 -- of any window
        await eventually(lambda: not self.live_speakers)


async def test_text_has_its_speakers_however_late_it_is(nats: InMemoryNats, constants: Constants) -> None:
    # Given an engine that detects a speaker in each utterance, and settles the ones before, until there is text
    constants(MAX_FRAMES_PER_PAGE=10)
    engine = Late()
    engine.live_speakers = [
        live_diarization(
            Turn(start=10 * number, end=10 * number + 9, speaker=f"SPEAKER_0{number}"), settled_until=10 * number
        )
        for number in range(3)
    ]
    updates = await updates_of(Parts(nats, engine=engine), diarize=True)
    # Then each text has its speaker
    speakers = [part.speaker for text in texts_in(updates) for part in text.segments]
    assert speakers == ["SPEAKER_00", "SPEAKER_01", "SPEAKER_02"]


class Interrupted(FakeEngine):
    """Detects a long utterance of one channel, and then a shorter one of the other, in which it ended earlier."""

    def process_live(self, job: ProcessLiveAudio) -> LiveAudioProcessed:
        reply = super().process_live(job)
        spoken = [(0, 20.0), (1, 15.0)] if job.end else []
        windows = [Window(regions=[(10.0, end)], samples=SAMPLES, channel=channel) for channel, end in spoken]
        return reply.model_copy(update={"windows": windows, "open": [], "complete_until": [0.0, 0.0]})


async def test_the_processed_seconds_never_fall(nats: InMemoryNats) -> None:
    updates = await updates_of(Parts(nats, engine=Interrupted()), audio=CALL)
    processed = [update.processed_seconds for update in progress_with_text(updates)]
    assert len(processed) == 2
    assert processed == sorted(processed, key=lambda seconds: seconds or 0.0)


class Silence(FakeEngine):
    """Detects no speech."""

    def process_live(self, job: ProcessLiveAudio) -> LiveAudioProcessed:
        before = 0.0 if job.first else self.live_streams[job.stream][0]
        until = before + len(b64decode(job.data)) / (2 * job.audio.sample_rate)
        self.live_streams[job.stream] = until, 0.0
        return LiveAudioProcessed(seconds=until, windows=[], open=[], complete_until=[until])


@pytest.mark.parametrize(
    ("silent", "reached", "reported"),
    [
        (SILENT_S - 1, 0.0, []),
        (SILENT_S, 0.0, [SILENT_S]),
        (SILENT_S + 9, 10.0, []),
    ],
)
async def test_long_silence_is_reported_so_that_it_is_not_processed_again(
    nats: InMemoryNats, silent: float, reached: float, reported: list[float]
) -> None:
    # Given silence behind what has its text already
    parts, checkpoint = Parts(nats, engine=Silence()), Checkpoint(reached={None: reached})
    updates = await updates_of(parts, checkpoint, seconds([0] * int(silent)))
    # Then it is reported when it was long
    assert [text.end for text in texts_in(updates)] == reported
    assert (result_in(updates).text, result_in(updates).duration) == ("", silent)


async def test_audio_that_was_never_stored_is_reported_with_the_text_of_its_time(parts: Parts) -> None:
    # Given a client whose first two frames are lost, and those before the end of the second utterance
    client = LiveClient(parts.server.client, "live-1", FRAMES, AUDIO)
    await client.send(2, 18)
    await client.send(20, 24)
    # When the rest comes
    updates = await updates_of(parts, frames=FRAMES[:25], first=24)
    # Then each gap is reported once
    reported = [[(gap.start, gap.end) for gap in text.untranscribed] for text in texts_in(updates)]
    assert reported == [[(0, 2)], [(18, 20)], []]
    assert [(gap.start, gap.end) for gap in result_in(updates).untranscribed] == [(0, 2), (18, 20)]
    assert result_in(updates).duration == 25


async def test_a_task_without_audio_stores_no_recording(parts: Parts, nats: InMemoryNats) -> None:
    result = result_in(await updates_of(parts, frames=[b""], keep_audio=True))
    assert (result.duration, result.audio_error, nats.streams["OBJ_audio"].messages) == (0, None, [])


async def marked(parts: Parts, marks: dict[int, list[str]], frames: list[bytes] = FRAMES) -> None:
    """Publish frames and, behind those with these numbers, empty frames with marks; the last one ends the audio."""
    bodies, of_frames = list[bytes](), dict[int, str]()
    for number, frame in enumerate(frames):
        bodies.append(frame)
        for mark in marks.get(number, []):
            of_frames[len(bodies)] = mark
            bodies.append(b"")
    client = LiveClient(parts.server.client, "live-1", bodies, AUDIO)
    for number in range(len(bodies)):
        await client.send_frame(number, end=number == len(bodies) - 1, mark=of_frames.get(number))


def finalized_in(updates: list[TaskUpdate | Result]) -> list[tuple[float, int, tuple[str, ...]]]:
    """Of each text its end, how many segments it has, and its marks."""
    return [
        (update.text.end, len(update.text.segments), update.finalized)
        for update in updates
        if isinstance(update, NewText)
    ]


async def test_the_text_before_a_mark_has_the_mark(parts: Parts) -> None:
    # Given marks within an utterance, twice the same in one place, and one with the last frame
    await marked(parts, {3: ["a"], 14: ["b", "b"], 24: ["c"]})
    # When the audio is transcribed
    updates = await updates_of(parts, frames=FRAMES + [b""] * 4, first=99)
    # Then each is in the event that completes its text, and speech goes on behind it
    assert finalized_in(updates) == [
        (4, 1, ("a",)),
        (10, 1, ()),
        (15, 1, ("b", "b")),
        (20, 1, ()),
        (25, 1, ("c",)),
    ]
    assert result_in(updates).duration == 25


async def test_a_mark_without_speech_has_an_event_without_segments(nats: InMemoryNats) -> None:
    # Given silence, with a mark
    parts = Parts(nats, engine=Silence())
    await marked(parts, {4: ["a"]}, seconds([0] * 9))
    updates = await updates_of(parts, frames=[b""] * 10, first=99)
    # Then the mark is published with what is transcribed up to there
    assert finalized_in(updates) == [(5, 0, ("a",))]


async def test_very_many_marks_need_several_events(nats: InMemoryNats) -> None:
    # Given a client that requests its text again and again while that is being transcribed
    parts, marks = Parts(nats, engine=FakeEngine()), [str(number) for number in range(2 * MAX_MARKS + 1)]
    await marked(parts, {9: marks}, seconds([1] * 10))
    updates = await updates_of(parts, frames=[b""] * 300, first=999)
    # Then all are published in their order, and no event is too large
    published = [of_event for _, _, of_event in finalized_in(updates)]
    assert [mark for of_event in published for mark in of_event] == marks
    assert max(map(len, published)) <= MAX_MARKS


async def test_another_worker_publishes_the_marks_that_are_left(parts: Parts) -> None:
    # Given two marks, and a worker that was lost after the event of the first one
    await marked(parts, {3: ["a"], 5: ["b"]})
    updates = await updates_of(parts, frames=FRAMES + [b""] * 2, first=99)
    stored = next(update for update in updates if isinstance(update, NewText))
    assert stored.finalized == ("a",)
    # When another worker continues behind its text
    done = Checkpoint(reached={None: stored.text.end}, audio_offset=stored.audio_offset)
    again = await updates_of(parts, done, frames=FRAMES + [b""] * 2, first=99)
    # Then the second mark is published, and the first one not again
    assert finalized_in(again) == finalized_in(updates)[1:]
    assert finalized_in(again)[0] == (6, 1, ("b",))
