"""Live audio: from the client, through a real server, to the mock and back."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from nats.js import JetStreamContext
from natscribe.client import Client, ClientError, Live, RequestFailedError, TaskIdTakenError, UnreachableError
from natscribe.client.following import Event
from natscribe.jetstream.streams import public_streams
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.headers import END
from natscribe.schemas.live import Codec, LiveAudio, LiveTask, Partial, TurnEvent, TurnState
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.requests import ResultFormat
from natscribe.schemas.transcription import SegmentsEvent, Source

from app.command.embedded import NatsServer
from app.settings import Settings
from tests.integration.seen_by_clients import ended, is_in_state
from tests.waiting import eventually

SECOND = bytes(32_000)  # of the audio that is the default
STREAM = "transcription_live"


async def stored_of(js: JetStreamContext, task_id: str) -> bytes:
    """The audio that is stored of a task, in frames whose numbers have no gap, and of which the last one is marked."""
    state = (await js.stream_info(STREAM)).state
    messages = [await js.get_msg(STREAM, number) for number in range(state.first_seq, state.last_seq + 1)]
    frames = [frame for frame in messages if frame.subject == subjects.live_audio(task_id)]
    headers = [frame.headers or {} for frame in frames]
    assert [header["Nats-Msg-Id"] for header in headers] == [f"{task_id}-{number}" for number in range(len(frames))]
    assert [END in header for header in headers] == [False] * (len(frames) - 1) + [True]
    assert all(len(frame.data or b"") <= len(SECOND) for frame in frames)
    return b"".join(frame.data or b"" for frame in frames)


async def heard_by(live: Live) -> list[Event | Partial | TurnEvent]:
    async with asyncio.timeout(30):
        return [event async for event in live]


async def test_a_live_task_from_its_first_audio_to_its_result(client: Client, js: JetStreamContext) -> None:
    # Given nine seconds of live audio
    async with client.live(user_id="anna", task_id="t1", language="en-GB", word_timestamps=True) as live:
        listening = asyncio.create_task(heard_by(live))
        for _ in range(18):
            await live.send(SECOND[: len(SECOND) // 2])
        await live.end()
        # When the text has come
        events, result = await listening, await live.result()
    # Then it came as partials, whose stable words stay
    partials = [event for event in events if isinstance(event, Partial)]
    assert partials
    assert all(partial.text.startswith(partial.stable) for partial in partials)
    # And as segments, each once
    segments = [part for event in events if isinstance(event, SegmentsEvent) for part in event.segments]
    assert [(part.start, part.text) for part in segments] == [(0, "Good morning."), (4, "Good morning."), (8, "Good")]
    # And progress says how far the text is behind, from the first event to the last
    progress = [event for event in events if isinstance(event, ProgressEvent)]
    assert [event.sequence for event in progress] == list(range(1, len(progress) + 1))
    assert (progress[0].state, progress[-1].state) == (State.QUEUED, State.COMPLETED)
    # And the result is that of a live task
    assert (result.source, result.audio_sha256, result.duration, result.user_id) == (Source.LIVE, None, 9, "anna")
    assert result.segments == segments
    # And the audio is stored as it was sent
    assert await stored_of(js, "t1") == 9 * SECOND


async def test_the_text_is_final_on_request(client: Client, js: JetStreamContext) -> None:
    # Given a second and a half of speech, of which the last samples fill no frame
    async with client.live(task_id="t1") as live, asyncio.timeout(60):
        await live.send(SECOND + SECOND[:15_001])
        # When the text is requested, then it is final when the call returns, up to the last sample
        await live.finalize("first")
        (event,) = [event async for event in stored_segments(js)]
        assert (event.finalized, event.processed_seconds) == (["first"], 1.469)
        assert [part.text for part in event.segments] == ["Good"]
        # And without speech there is an event, too, also of several requests at the same time
        await asyncio.gather(live.finalize(), live.finalize("same"), live.finalize("same"))
        later = [event async for event in stored_segments(js)][1:]
        assert [event.segments for event in later] == [[], [], []]
        assert [len(event.finalized) for event in later] == [1, 1, 1]
        # And speech goes on, without a hole in the audio
        await live.send(SECOND[:16_999] + 5 * SECOND)
        await live.end()
        result = await live.result()
    assert [(part.start, part.text) for part in result.segments] == [(0, "Good"), (4, "Good morning.")]
    assert await stored_of(js, "t1") == 7 * SECOND
    # And who requests the text of audio that has ended gets an error
    with pytest.raises(ClientError, match="has ended"):
        await live.finalize()


async def test_turns_begin_and_end(client: Client) -> None:
    # Given seven seconds of live audio, in which somebody speaks twice
    async with client.live(turns=True) as live:
        listening = asyncio.create_task(heard_by(live))
        for _ in range(14):
            await live.send(SECOND[: len(SECOND) // 2])
        await live.end()
        events = await listening
    # Then each turn begins, and ends with the text that its pause has told
    turns = [(event.state, event.text) for event in events if isinstance(event, TurnEvent)]
    said = [(TurnState.EAGER_END, "Good morning."), (TurnState.ENDED, "Good morning.")]
    assert turns == 2 * [(TurnState.STARTED, ""), *said]
    # And without the option there are none
    async with client.live() as live:
        await live.send(2 * SECOND)
        await live.end()
        assert not any(isinstance(event, TurnEvent) for event in await heard_by(live))


@pytest.mark.parametrize("mark", ["x" * 65, "a\nb", " a", "ü"])
async def test_a_mark_that_the_service_would_refuse_is_not_sent(client: Client, mark: str) -> None:
    async with client.live() as live:
        with pytest.raises(ClientError, match="printable"):
            await live.finalize(mark)
        await live.end()


async def test_whoever_waits_for_text_learns_that_the_task_has_ended(client: Client) -> None:
    # Given a client that waits for the text of a frame which is after the end of the audio
    async with client.live(idle_seconds=1) as live:
        await live.send(SECOND)
        await live.finalize()
        async with asyncio.timeout(60):
            await ended(client, live.task_id)
            # When the task has ended, then the call fails, and does not wait for ever
            with pytest.raises(ClientError, match="has ended"):
                await live.finalize()


async def stored_segments(js: JetStreamContext) -> AsyncIterator[SegmentsEvent]:
    """The segments events of the only task."""
    state = (await js.stream_info("transcription_segments")).state
    for number in range(state.first_seq, state.last_seq + 1) if state.messages else ():
        message = await js.get_msg("transcription_segments", number)
        yield SegmentsEvent.model_validate_json(message.data or b"")


async def test_speakers_are_labelled_and_corrected(client: Client) -> None:
    # Given two people who take turns, of whom the second is recognized a little later
    async with client.live(diarize=True) as live:
        await live.send(13 * SECOND)
        await live.end()
        events = await heard_by(live)
        # Then each segment has a label, or gets it later
        labels = [event.speaker for event in events if isinstance(event, SegmentsEvent)]
        assert labels == ["SPEAKER_00", None, "SPEAKER_00", "SPEAKER_01"]
        # And the client knows in the end what the result says
        result = await live.result()
        assert [part.speaker for part in live.speakers.segments] == [part.speaker for part in result.segments]
        assert live.speakers.settled_until == 13


async def test_progress_status_and_list_report_the_lag(client: Client) -> None:
    # Given a live task, when two seconds of audio are there
    async with client.live() as live:
        await live.send(2 * SECOND)
        # Then an event says how much of it has no text yet
        async with asyncio.timeout(30):
            async for event in live:
                if isinstance(event, ProgressEvent) and event.lag_seconds == 2:
                    assert event.processed_seconds == 0
                    break
        # And status and list say it, too
        assert (await client.get_task_progress(live.task_id)).lag_seconds == 2
        assert [task.lag_seconds for task in (await client.tasks()).tasks] == [2]


async def test_audio_is_complete_after_an_outage(settings: Settings, nats_server: NatsServer) -> None:
    # Given audio on its way, and streams without a service
    own = settings.model_copy(update={"nats_url": nats_server.url})
    outages: list[bool] = []
    spoken = bytes(number % 251 for number in range(4 * len(SECOND)))
    async with Client(own, on_outage=outages.append) as client:
        js = client._connection.jetstream()  # noqa: SLF001 -- to inspect its server
        for stream in public_streams(own.stream_names):
            await js.add_stream(stream)
        async with client.live(task_id=None) as live:
            await live.send(spoken[: len(SECOND)])
            # When NATS is stopped during live audio, and restarted
            await nats_server.stop()
            speaking = asyncio.create_task(live.send(spoken[len(SECOND) :]))
            await eventually(lambda: True in outages)
            await nats_server.start()
            # Then all of the audio is stored, once and in its order
            await speaking
        assert await stored_of(js, live.task_id) == spoken


async def test_an_error_in_the_block_ends_the_audio(client: Client, js: JetStreamContext) -> None:
    # Given a program that fails during live audio
    async def speak() -> None:
        async with client.live(task_id="t1") as live:
            await live.send(SECOND + b"12")
            message = "of the program"
            raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="of the program"):
        await speak()
    # Then no text is lost
    assert (await ended(client, "t1")).state is State.COMPLETED
    assert await client.get_task_result("t1", ResultFormat.TXT) == "Good\n"
    assert await stored_of(js, "t1") == SECOND + b"12"


async def test_another_client_resumes_the_audio(client: Client, settings: Settings) -> None:
    # Given a client that vanishes during live audio
    audio = LiveAudio(codec=Codec.ALAW, sample_rate=8000, channels=2)
    async with Client(settings) as gone:
        live = gone.live(task_id="t1", audio=audio)
        await live.__aenter__()
        await live.send(bytes(16_000))
        await eventually(lambda: is_in_state(client, "t1", State.RUNNING))
    with pytest.raises(UnreachableError, match=r"live - --resume .*resume=True"):
        await live.__aexit__(None, None, None)
    # When another one resumes with another audio format, then that is refused, and the audio does not end
    with pytest.raises(ClientError, match=r"^The audio of t1 has codec alaw, rate 8000, channels 2: resume it with"):
        async with client.live(task_id="t1", resume=True, audio=LiveAudio()):
            pass
    # When one resumes without the audio format
    async with client.live(task_id="t1", resume=True) as live:
        await live.send(bytes(32_000))
    # Then the recording is one
    assert (await live.result()).duration == 3


async def test_audio_that_has_ended_is_not_resumed(client: Client) -> None:
    # Given audio that has ended
    async with client.live(task_id="t1") as live:
        await live.send(SECOND)
        await live.end()
        await live.end()
        # Then no more is sent
        with pytest.raises(ClientError, match="has ended"):
            await live.send(SECOND)
    # And none is later
    with pytest.raises(ClientError, match=r"^The audio of t1 has ended: start another live transcription task\.$"):
        async with client.live(task_id="t1", resume=True):
            pass
    # And its id is taken
    with pytest.raises(TaskIdTakenError, match=r"^t1 has audio already: choose another id\.$"):
        async with client.live(task_id="t1"):
            pass


async def test_only_live_tasks_are_resumed(client: Client, meeting: str) -> None:
    # Given the task of a recording
    await client.create_transcription_task(meeting, task_id="t1")
    # When a client sends audio to it, then that is refused
    with pytest.raises(ClientError, match="no live transcription task"):
        async with client.live(task_id="t1", resume=True):
            pass
    with pytest.raises(RequestFailedError) as refused:
        async with client.live(task_id="unknown", resume=True):
            pass
    assert refused.value.code is ErrorCode.NOT_FOUND


async def test_a_task_without_audio_ends_by_itself(client: Client) -> None:
    # Given a client that has stopped sending without ending the audio
    async with client.live(idle_seconds=1) as live:
        await live.send(SECOND)
        # When nothing comes for the time that the task allows
        events = await heard_by(live)
        # Then it ends with the text so far, and accepts no more audio
        assert isinstance(events[-1], ProgressEvent)
        assert events[-1].state is State.COMPLETED
        with pytest.raises(ClientError, match="has ended after its pause"):
            await live.send(SECOND)
    assert (await live.result()).text == "Good"


@pytest.mark.parametrize(
    ("task_id", "error", "words"),
    [
        ("slow-1", ClientError, "was cancelled"),
        ("error-audio_too_large-1", RequestFailedError, "is larger or longer"),
    ],
    ids=["cancelled", "failed"],
)
async def test_the_end_of_a_task_is_an_error_of_the_next_send(
    client: Client, task_id: str, error: type[ClientError], words: str
) -> None:
    async with client.live(task_id=task_id) as live:
        await live.send(4 * SECOND)
        # When the task is cancelled, or has failed after its first words
        if task_id == "slow-1":
            await eventually(lambda: is_in_state(client, task_id, State.RUNNING))
            await client.cancel(task_id)
        assert (await ended(client, task_id)).state in {State.CANCELLED, State.FAILED}
        # Then no more audio is accepted, and the error has the reason
        with pytest.raises(error, match=words):
            await live.send(SECOND)


async def test_a_frame_that_cuts_a_sample_is_an_error_as_in_the_service(client: Client, js: JetStreamContext) -> None:
    # Given a program that publishes frames itself, with an odd number of bytes
    async with client.live(task_id="odd") as live:
        await js.publish(subjects.live_audio("odd"), SECOND[:-1], headers={"Nats-Msg-Id": "odd-0"})
        # Then the task fails, and names the frame
        failed = await ended(client, live.task_id)
    assert failed.error is not None
    assert (failed.error.code, "frame 0" in failed.error.message) == (ErrorCode.AUDIO_UNREADABLE, True)


@pytest.mark.parametrize("task_id", ["retry-1", "lost-1"])
async def test_another_attempt_continues_after_the_last_segment(client: Client, task_id: str) -> None:
    # Given a task whose first attempt ends after the first utterance
    async with client.live(task_id=task_id, diarize=True, keep_seconds=60) as live:
        listening = asyncio.create_task(heard_by(live))
        await live.send(8 * SECOND)
        await live.end()
        events, result = await listening, await live.result()
    # Then no text is lost or repeated
    batches = [event for event in events if isinstance(event, SegmentsEvent)]
    assert [(batch.sequence, batch.processed_seconds) for batch in batches] == [(1, 3), (2, 7)]
    assert [segment.speaker for segment in result.segments] == ["SPEAKER_00", "SPEAKER_01"]


async def test_frames_of_two_processes_count_once(client: Client, js: JetStreamContext) -> None:
    # Given a live task
    async with client.live(task_id="t1") as live:
        # When two processes send its frames, one of them in another order
        for number in (0, 2, 1, 2, 0):
            headers = {"Nats-Msg-Id": f"t1-{number}"} | ({END: "true"} if number == 2 else {})
            await js.publish(subjects.live_audio("t1"), SECOND, headers=headers)
        # Then the recording has each of them once
        assert (await live.result()).duration == 3


async def test_live_tasks_are_tasks(client: Client, js: JetStreamContext) -> None:
    # Given a live task beside others
    async with client.live(task_id="t1", user_id=7, audio=LiveAudio(sample_rate=8000)) as live:
        await eventually(lambda: is_in_state(client, "t1", State.RUNNING))
        # Then it is listed, and its status has it as it was sent
        listed = (await client.tasks(user_id=7)).tasks
        status = await client.get_task_progress("t1")
        assert [(task.task_id, task.kind, task.audio_file_id) for task in listed] == [("t1", "transcription", "t1")]
        assert isinstance(status.task, LiveTask)
        assert status.task.audio.sample_rate == 8000
        # When it is deleted
        await live.send(SECOND)
        await live.end()
        await client.delete("t1")
    # Then nothing of its audio is left
    assert (await js.stream_info(STREAM)).state.messages == 0
