"""The transcription of one recording: its channels, where it resumes, and what is cached of it."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest
from natscribe.schemas.diarization import Turn
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.transcription import Channels, Interval, Segment, Source, TranscribeOptions, TranscriptionTask
from natscribe.schemas.wire import Model

from app.engines.engine import run_job
from app.engines.messages import (
    DiarizationDone,
    FindWindows,
    Job,
    Loaded,
    RecordingEmbeddings,
    Reply,
    SpeakerEmbedding,
    Transcribe,
    WindowSearchDone,
    WindowsTranscribed,
)
from app.engines.window_queue import Rank
from app.engines.windows import Window, WindowText
from app.runtime.errors import FencedError, PermanentError
from app.speech.diarizer import BackgroundDiarization
from app.speech.recordings.cache import CachedTranscript, TranscriptCache
from app.speech.recordings.channels import Transcription
from app.speech.transcript import TaskTranscript
from app.speech.updates import Append, Checkpoint, NewText, Progress, TaskUpdate
from app.speech.window_pipeline import MAX_SEGMENTS_PER_TEXT, append_or_merge
from app.storage.recordings.recording import Recording, read_stamp
from app.storage.redis.cache import Cache
from tests.fakes.cache import MemoryCache
from tests.fakes.engine import MODEL, FakeEngine, number_of, segment

SHA = "0" * 64
AUTO = TranscriptionTask(task_id="t1", audio_file_id="call.flac", user_id=7)
MIXED = AUTO.model_copy(update={"channels": Channels.MIX})
CROWDED = AUTO.model_copy(update={"diarize": True, "min_speakers": 3})
SEPARATE = MIXED.model_copy(update={"channels": Channels.SEPARATE})
CALL = Path("call.flac")
LANGUAGES = {None: "en", 0: "en", 1: "ru"}  # that are spoken on each channel


class CallEngine(FakeEngine):
    """Finds three windows on each channel, and another text and language on each."""

    def __init__(self, channels: int, *, differ: bool = False) -> None:
        super().__init__()
        self.channels = channels
        self.differ = differ
        self.transcribed: list[tuple[int | None, int, str | None]] = []  # channel, window, the language before
        self.missing: list[Interval] = []  # in each window

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        if isinstance(job, Transcribe):
            yield self._transcribed(job)
            return
        async with aclosing(super().run(job)) as replies:
            async for reply in replies:
                yield reply

    def _transcribed(self, job: Transcribe) -> WindowsTranscribed:
        texts = [self._said(*window) for window in zip(job.windows, job.previous, strict=True)]
        return WindowsTranscribed(texts=texts, seconds=20.0)

    def _said(self, window: Window, previous: str | None) -> WindowText:
        number, channel = number_of(window), window.channel
        self.transcribed.append((channel, number, previous))
        echo = segment(number, f"{number} on {channel}").model_copy(update={"language": LANGUAGES[channel]})
        return WindowText(
            segments=[echo],
            untranscribed=self.missing,
            language=LANGUAGES[channel],
            end=window.end,
            channel=channel,
        )


class OneByOne:
    """Has an engine transcribe one window after the other."""

    workers = 1

    def __init__(self, engine: FakeEngine, room: int = 1) -> None:
        self._engine = engine
        self.room = room

    async def transcribe(
        self, window: Window, options: TranscribeOptions, previous: str | None, rank: Rank
    ) -> WindowText:
        assert rank in {Rank.OWN, Rank.BLOCKING, Rank.DUPLICATE}
        job = Transcribe(windows=[window], previous=[previous], options=options)
        (text,) = (await run_job(self._engine, job, WindowsTranscribed)).texts
        return text


@pytest.fixture
def memory() -> MemoryCache:
    return MemoryCache()


def transcription_of(
    engine: FakeEngine,
    task: TranscriptionTask,
    memory: MemoryCache,
    model: Model = MODEL,
    *,
    shared: bool = False,
    recording: Recording = Recording(CALL, SHA),  # noqa: B008 -- frozen
) -> Transcription:
    return Transcription(
        engine=engine,
        own=OneByOne(engine, room=0 if shared else 1),
        idle_workers=OneByOne(engine) if shared else None,
        cache=TranscriptCache(cast("Cache", memory)),
        recording=recording,
        task=task,
        loaded=Loaded(model=model),
    )


async def updates_of(transcription: Transcription, checkpoint: Checkpoint = Checkpoint()) -> list[TaskUpdate]:  # noqa: B008
    updates: list[TaskUpdate] = []

    async def append(update: TaskUpdate) -> None:
        updates.append(update)

    await transcription.transcribe(checkpoint, append)
    return updates


def texts_in(updates: Sequence[TaskUpdate]) -> list[WindowText]:
    return [update.text for update in updates if isinstance(update, NewText)]


def texts(segments: Sequence[Segment]) -> list[str]:
    return [part.text for part in segments]


def checkpoint_after(window_texts: Sequence[WindowText]) -> Checkpoint:
    """What the next attempt reads from the segments."""
    last = window_texts[-1]
    return Checkpoint(
        language=last.language,
        channel=last.channel,
        processed_seconds=last.end,
        segments=tuple(segment for text in window_texts for segment in text.segments),
        untranscribed=tuple(interval for text in window_texts for interval in text.untranscribed),
        audio_sha256=SHA,
    )


ALL = [f"{number} on {channel}" for channel in (0, 1) for number in range(3)]


async def test_channels_are_transcribed_one_after_the_other(memory: MemoryCache) -> None:
    # Given a call with a side on each channel
    engine = CallEngine(channels=2)
    transcription = transcription_of(engine, SEPARATE, memory)
    # When it is transcribed with its channels apart
    updates = await updates_of(transcription)
    # Then each channel is processed on its own from its beginning
    assert engine.jobs == [
        FindWindows(path=Path("call.flac"), channel=0),
        FindWindows(path=Path("call.flac"), channel=1),
    ]
    assert texts(transcription.transcript.segments) == ALL
    # And its segments say so, and that it is a speaker of its own
    assert [part.channel for part in transcription.transcript.segments] == [0, 0, 0, 1, 1, 1]
    assert [part.speaker for part in transcription.transcript.segments] == ["SPEAKER_00"] * 3 + ["SPEAKER_01"] * 3
    assert [text.channel for text in texts_in(updates)] == [0, 0, 0, 1, 1, 1]
    assert {update.audio_sha256 for update in updates if isinstance(update, NewText)} == {SHA}
    # And what is spoken on the first one is not taken for the language of the second one
    assert engine.transcribed == [
        (0, 0, None), (0, 1, "en"), (0, 2, "en"), (1, 0, None), (1, 1, "ru"), (1, 2, "ru"),
    ]  # fmt: skip


async def test_channels_that_differ_are_transcribed_as_if_requested(memory: MemoryCache) -> None:
    # Given a call with a side on each channel, and a task that says nothing of channels
    transcription = transcription_of(engine := CallEngine(channels=2, differ=True), AUTO, memory)
    # When it is transcribed
    updates = await updates_of(transcription)
    # Then the engine chooses once, and all that is found is the same as with separate channels
    assert engine.jobs == [FindWindows(path=CALL, choose=True), FindWindows(path=CALL, channel=1)]
    requested = transcription_of(CallEngine(channels=2), SEPARATE, memory)
    assert updates == await updates_of(requested)
    result = {"created_at"}
    assert transcription.result().model_dump(exclude=result) == requested.result().model_dump(exclude=result)


@pytest.mark.parametrize(
    ("channels", "options", "choose"),
    [
        (1, {}, True),
        (2, {}, True),
        (9, {}, True),
        (2, {"diarize": True}, True),
        (2, {"diarize": True, "min_speakers": 2}, True),
        (2, {"diarize": True, "min_speakers": 3}, False),
        (2, {"min_speakers": 3}, True),
        (2, {"channels": Channels.MIX}, False),
    ],
)
async def test_channels_that_do_not_differ_are_mixed(
    memory: MemoryCache, channels: int, options: dict[str, object], choose: bool
) -> None:
    # Given a recording whose channels have the same speech, and a task that does not request separate channels
    task = AUTO.model_copy(update=options)
    transcription = transcription_of(engine := CallEngine(channels=channels), task, memory)
    # When it is transcribed
    updates = await updates_of(transcription)
    # Then all is transcribed as one, without a check if the task says that already, and no speaker is named
    assert engine.jobs == [FindWindows(path=CALL, choose=choose)]
    assert {text.channel for text in texts_in(updates)} == {None}
    assert {(part.channel, part.speaker) for part in transcription.transcript.segments} == {(None, None)}
    assert transcription.result().channels is None


@pytest.mark.parametrize(
    ("earlier", "differ"), [(MIXED, True), (SEPARATE, False), (CROWDED, True)], ids=["mix", "separate", "crowded"]
)
async def test_what_an_earlier_task_chose_decides_nothing(
    memory: MemoryCache, earlier: TranscriptionTask, differ: bool
) -> None:
    # Given a recording that an earlier task has had transcribed in the other way than the engine would choose
    await updates_of(transcription_of(CallEngine(channels=2, differ=differ), earlier, memory))

    # When a task leaves the choice to the engine
    choosing = AUTO.model_copy(update={"diarize": True})
    transcription = transcription_of(CallEngine(channels=2, differ=differ), choosing, memory)
    await updates_of(transcription)

    # Then the audio decides, and the next such task has it from the cache
    assert transcription.separate is differ
    again = transcription_of(engine := CallEngine(channels=2, differ=differ), choosing, memory)
    await updates_of(again)
    assert (again.separate, texts(again.transcript.segments)) == (differ, texts(transcription.transcript.segments))
    assert engine.transcribed == []


@pytest.mark.parametrize("differ", [False, True])
@pytest.mark.parametrize("done", range(1, 7))
async def test_an_attempt_keeps_the_choice_of_the_attempt_before(memory: MemoryCache, done: int, differ: bool) -> None:
    # Given what an attempt has found until it was lost, and a worker of another version, which would choose otherwise
    first = CallEngine(channels=2, differ=differ)
    earlier = texts_in(await updates_of(transcription_of(first, AUTO, MemoryCache())))[:done]
    engine = CallEngine(channels=2, differ=not differ)
    # And such a worker has transcribed the same recording for another task
    await updates_of(transcription_of(CallEngine(channels=2, differ=not differ), AUTO, memory))
    # When it continues
    transcription = transcription_of(engine, AUTO, memory)
    await updates_of(transcription, checkpoint_after(earlier))
    # Then it chooses nothing: it continues in the same channel, or with all channels mixed
    assert not any(job.choose for job in engine.jobs if isinstance(job, FindWindows))
    assert texts(transcription.transcript.segments) == (ALL if differ else [f"{number} on None" for number in range(3)])


async def test_a_recording_with_one_channel_is_transcribed_as_one(memory: MemoryCache) -> None:
    # Given a recording with one channel, when its channels are to be transcribed apart
    engine = CallEngine(channels=1)
    transcription = transcription_of(engine, SEPARATE, memory)
    updates = await updates_of(transcription)
    # Then it is transcribed once, and its segments belong to no channel
    assert len(engine.jobs) == 1
    assert {text.channel for text in texts_in(updates)} == {None}
    assert {(part.channel, part.speaker) for part in transcription.transcript.segments} == {(None, None)}
    assert not transcription.separate
    # And the next task has it from the cache
    await updates_of(transcription_of(engine := CallEngine(channels=1), SEPARATE, memory))
    assert engine.jobs == []


@pytest.mark.parametrize("piece", [0, 1])
async def test_a_damaged_cached_transcript_is_ignored(memory: MemoryCache, piece: int) -> None:
    await updates_of(transcription_of(CallEngine(channels=1), MIXED, memory))
    (pieces,) = memory.pieces.values()
    pieces[piece] = b"{"
    await updates_of(transcription_of(engine := CallEngine(channels=1), MIXED, memory))
    assert len(engine.transcribed) == 3


@pytest.mark.parametrize(
    ("options", "has_words"), [({}, False), ({"word_timestamps": True}, True), ({"diarize": True}, True)], ids=str
)
async def test_words_are_returned_if_the_task_needs_them(
    memory: MemoryCache, options: dict[str, bool], has_words: bool
) -> None:
    # Given a recording whose words were not stored, and a task that requests their times, for speakers, or for neither
    await updates_of(transcription_of(CallEngine(channels=1), MIXED, memory))
    transcription = transcription_of(CallEngine(channels=1), MIXED.model_copy(update=options), memory)
    # When it is transcribed, then the words are there where they are of use, and else left out
    updates = await updates_of(transcription)
    assert {part.words is not None for text in texts_in(updates) for part in text.segments} == {has_words}


def test_the_most_spoken_language_is_the_first_of_a_result() -> None:
    # Given a transcript in which English is spoken first, and Russian longer
    transcript = TaskTranscript(MIXED)
    for start, end, language in ((0, 1, "en"), (1, 3, "ru"), (3, 4, "en"), (4, 5, "ru")):
        spoken_segment = segment(0).model_copy(update={"start": start, "end": end, "language": language})
        transcript.add(WindowText(segments=[spoken_segment], language=language, end=end))
    # When its result is built
    result = transcript.result(duration=5, model=MODEL, source=Source.RECORDING, audio_sha256=SHA)
    # Then it has the seconds of each language, and Russian is the language of the recording
    assert list(result.languages.items()) == [("ru", 3), ("en", 2)]
    assert result.language == "ru"


def test_the_first_speaker_with_words_is_the_first_in_all_parts_of_a_result() -> None:
    # Given a transcript, and three speakers: one who coughs, one who answers, and one who asks first
    transcript = TaskTranscript(MIXED.model_copy(update={"diarize": True}))
    segments = [segment(0).model_copy(update={"start": start, "end": start + 2, "words": None}) for start in (1, 4)]
    transcript.add(WindowText(segments=segments, language="en", end=6))
    cough, run_job, question = turns = [
        Turn(start=start, end=end, speaker=f"SPEAKER_{number:02}")
        for number, (start, end) in enumerate([(0, 0.3), (4, 6), (1, 3)])
    ]
    embedded = RecordingEmbeddings(model=MODEL, speakers=[_embedding(turn.speaker) for turn in turns])
    search = BackgroundDiarization(_never)
    search.result = DiarizationDone(turns=turns, duration_seconds=6, model=MODEL, embedded=embedded)
    # When its words get speakers
    speakers = transcript.add_speakers(search)
    # Then speakers are numbered by their first words, and embeddings have the same labels
    assert [part.speaker for part in transcript.segments] == ["SPEAKER_00", "SPEAKER_01"]
    assert speakers is not None
    assert speakers.embedded is not None
    labels = {cough.speaker: "SPEAKER_02", run_job.speaker: "SPEAKER_01", question.speaker: "SPEAKER_00"}
    assert [turn.speaker for turn in speakers.turns] == list(labels.values())
    assert {speaker.values: speaker.speaker for speaker in speakers.embedded.speakers} == labels


def _embedding(speaker: str) -> SpeakerEmbedding:
    return SpeakerEmbedding(speaker=speaker, seconds=20, agreement=1, values=speaker, telephone="")


async def _never(_: Append) -> DiarizationDone:
    raise AssertionError


@pytest.mark.parametrize("channels", [8, 9])
async def test_more_than_eight_channels_are_not_transcribed_apart(memory: MemoryCache, channels: int) -> None:
    # Given a recording with many channels
    engine = FakeEngine(windows=1)
    engine.channels = channels
    transcription = transcription_of(engine, SEPARATE, memory)
    # When they are to be transcribed apart
    if channels <= 8:
        await updates_of(transcription)
        assert len(engine.jobs) == 8
        return
    with pytest.raises(PermanentError) as caught:
        await updates_of(transcription)
    # Then beyond eight the task is at fault, and the error names the field, how many there may be, and what to do
    assert caught.value.detail.code is ErrorCode.INVALID_MESSAGE
    assert "channels: the recording has 9 channels" in caught.value.detail.message
    assert "up to 8" in caught.value.detail.message
    # And mixed they are no trouble
    await updates_of(transcription_of(engine, MIXED, memory))


@pytest.mark.parametrize("done", range(1, 7))
async def test_a_run_goes_on_in_the_channel_in_which_the_last_one_ended(memory: MemoryCache, done: int) -> None:
    # Given what an attempt has found up to any window of any channel, of each of which an interval gave no text
    first = CallEngine(channels=2)
    first.missing = [Interval(start=1, end=2)]
    earlier = texts_in(await updates_of(transcription_of(first, SEPARATE, memory)))[:done]
    # When another worker continues, which knows nothing else
    engine = CallEngine(channels=2)
    engine.missing = first.missing
    transcription = transcription_of(engine, SEPARATE, MemoryCache())
    await updates_of(transcription, checkpoint_after(earlier))
    # Then only the rest is transcribed, after the same languages as before, and together that is everything
    assert engine.transcribed == first.transcribed[done:]
    assert texts(transcription.transcript.segments) == ALL
    assert [part.channel for part in transcription.transcript.segments] == [0, 0, 0, 1, 1, 1]
    assert transcription.transcript.untranscribed == first.missing * 6

    # And the result lists it once
    assert transcription.result().untranscribed == first.missing


@pytest.mark.parametrize("task", [MIXED, SEPARATE])
@pytest.mark.parametrize("done", [0, 2, 4])
async def test_progress_never_falls(memory: MemoryCache, task: TranscriptionTask, done: int) -> None:
    # Given an attempt from the beginning, or one that continues
    earlier = texts_in(await updates_of(transcription_of(CallEngine(channels=2), task, MemoryCache())))[:done]
    checkpoint = checkpoint_after(earlier) if earlier else Checkpoint()
    # When a recording is transcribed
    updates = await updates_of(transcription_of(CallEngine(channels=2), task, memory), checkpoint)
    progress = [update for update in updates if isinstance(update, Progress)]
    # Then progress never falls, and at the end all is done
    assert all(before.fraction <= after.fraction for before, after in pairwise(progress))
    assert all(
        (before.processed_seconds or 0) <= (after.processed_seconds or 0) for before, after in pairwise(progress)
    )
    assert progress[-1].fraction == 1
    # And what was done before counts
    assert progress[0].fraction == pytest.approx(len(earlier) / (3 if task is MIXED else 6))


@pytest.mark.parametrize(
    ("task", "differ"),
    [(SEPARATE, False), (AUTO, True), (AUTO, False), (MIXED, False)],
    ids=["separate", "auto-differ", "auto-same", "mix"],
)
async def test_each_channel_is_cached_and_reused(memory: MemoryCache, task: TranscriptionTask, differ: bool) -> None:
    # Given a call that was transcribed
    first = transcription_of(CallEngine(channels=2, differ=differ), task, memory)
    await updates_of(first)
    assert not first.cached
    # When the same is requested again
    engine = CallEngine(channels=2, differ=differ)
    again = transcription_of(engine, task, memory)
    await updates_of(again)
    # Then nothing is transcribed, and the result is the same
    assert engine.jobs == []
    assert (again.transcript.segments, again.transcript.untranscribed) == (
        first.transcript.segments,
        first.transcript.untranscribed,
    )
    assert (again.duration, again.transcript.channels) == (first.duration, first.transcript.channels)
    assert again.result().model == first.result().model == MODEL
    assert again.separate == first.separate
    assert again.cached


async def test_text_of_idle_workers_is_not_cached(memory: MemoryCache) -> None:
    # Given a call that other workers have transcribed in part, when it is done
    await updates_of(transcription_of(CallEngine(channels=2), SEPARATE, memory, shared=True))
    # Then no later task gets their text
    assert memory.pieces == {}


async def test_only_complete_channels_are_cached(memory: MemoryCache) -> None:
    # Given an attempt that was lost in the first channel
    earlier = texts_in(await updates_of(transcription_of(CallEngine(channels=2), SEPARATE, MemoryCache())))[:2]
    # When the next attempt does the rest
    await updates_of(transcription_of(CallEngine(channels=2), SEPARATE, memory), checkpoint_after(earlier))
    # Then another task transcribes the first channel again, and gets the second one from the cache
    await updates_of(transcription_of(engine := CallEngine(channels=2), SEPARATE, memory))
    assert [job.channel for job in engine.jobs if isinstance(job, FindWindows)] == [0]


@pytest.mark.parametrize("windows", [0, 3])
@pytest.mark.parametrize("seconds", [28.5, 31.5])
async def test_the_recording_is_as_long_as_what_was_decoded(memory: MemoryCache, windows: int, seconds: float) -> None:
    # Given a recording, with speech or without, that is shorter or longer than its header says
    class Other(CallEngine):
        async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
            async with aclosing(super().run(job)) as replies:
                async for reply in replies:
                    yield WindowSearchDone(duration_seconds=seconds) if isinstance(reply, WindowSearchDone) else reply

    # When it is transcribed, then the result has its real duration, and so has that of a later task
    for _ in range(2):
        engine = Other(channels=1)
        engine.windows = windows
        transcription = transcription_of(engine, MIXED, memory)
        await updates_of(transcription)
        assert transcription.result().duration == seconds
    assert transcription.cached


@pytest.mark.parametrize(
    ("model", "options"), [(Model(name="fake", revision="1"), {}), (MODEL, {"language": "de"})], ids=str
)
async def test_a_transcript_of_another_model_or_language_is_not_reused(
    memory: MemoryCache, model: Model, options: dict[str, str]
) -> None:
    # Given a call that was transcribed by other weights of the model, or in another language
    other = MIXED.model_copy(update=options)
    await updates_of(transcription_of(CallEngine(channels=2), other, memory, model))
    # When the call is transcribed
    transcription = transcription_of(engine := CallEngine(channels=2), MIXED, memory)
    await updates_of(transcription)
    # Then this one transcribes it
    assert len(engine.transcribed) == 3
    assert not transcription.cached


async def test_a_call_of_which_one_channel_is_known_is_not_taken_from_the_cache_as_a_whole(memory: MemoryCache) -> None:
    # Given a call of which the first channel was transcribed, and the attempt was lost in the second one
    async def append(update: TaskUpdate) -> None:
        if isinstance(update, NewText) and update.text.channel == 1:
            raise FencedError

    with pytest.raises(FencedError):
        await transcription_of(CallEngine(channels=2), SEPARATE, memory).transcribe(Checkpoint(), append)
    # When another task has the same options
    engine = CallEngine(channels=2)
    transcription = transcription_of(engine, SEPARATE, memory)
    await updates_of(transcription)
    # Then the first channel is taken from the cache and the second one is transcribed, and the result says so
    assert [job.channel for job in engine.jobs if isinstance(job, FindWindows)] == [1]
    assert texts(transcription.transcript.segments) == ALL
    assert not transcription.cached


async def test_an_attempt_that_completes_from_the_cache_is_marked_as_cached(memory: MemoryCache) -> None:
    # Given an attempt that was lost in the second channel, and another task that has transcribed all of it meanwhile
    earlier = texts_in(await updates_of(transcription_of(CallEngine(channels=2), SEPARATE, memory)))[:4]
    # When the next attempt continues
    engine = CallEngine(channels=2)
    transcription = transcription_of(engine, SEPARATE, memory)
    await updates_of(transcription, checkpoint_after(earlier))
    # Then nothing is transcribed any more, and nothing is yielded twice
    assert engine.jobs == []
    assert texts(transcription.transcript.segments) == ALL
    assert transcription.cached


def content_of(texts: Iterable[WindowText]) -> tuple[list[Segment], list[Interval]]:
    """All segments of texts, and all stretches without text."""
    texts = list(texts)
    return [part for text in texts for part in text.segments], [
        interval for text in texts for interval in text.untranscribed
    ]


@pytest.mark.parametrize("windows", [0, 1, MAX_SEGMENTS_PER_TEXT, 2 * MAX_SEGMENTS_PER_TEXT + 1])
async def test_a_cached_transcript_comes_in_order_and_an_attempt_goes_on_anywhere(windows: int) -> None:
    # Given the transcript of many windows, at the begins of some of which nothing was found
    texts = [
        WindowText(
            segments=[segment(number)],
            untranscribed=[] if number % 7 else [Interval(start=10 * number, end=10 * number + 0.5)],
            language="en",
            end=10 * number + 10,
        )
        for number in range(windows)
    ]
    transcript = CachedTranscript(duration=10 * windows, channels=1)
    for text in texts:
        append_or_merge(transcript.texts, text)
    # When it is read
    whole = [cached_text async for cached_text in transcript.texts_from(0.0)]
    # Then in few texts, of which none is too large for an append, and all of it
    assert content_of(whole) == content_of(texts)
    assert len(whole) == -(-windows // MAX_SEGMENTS_PER_TEXT)
    # And an attempt that continues behind any window gets exactly the rest
    for done, text in enumerate(texts, start=1):
        rest = [cached_text async for cached_text in transcript.texts_from(text.end)]
        assert content_of(rest) == content_of(texts[done:])
        assert all(cached_text.end > text.end for cached_text in rest)


async def test_a_recording_that_was_replaced_meanwhile_is_not_cached(memory: MemoryCache, tmp_path: Path) -> None:
    # Given a recording that is replaced while it is transcribed
    file = tmp_path / "call.flac"
    file.write_bytes(b"as it was")
    recording = Recording(file, SHA, read_stamp(file))
    file.write_bytes(b"another one")
    # When that is noticed, then its text is not cached
    with pytest.raises(PermanentError, match="replaced"):
        await updates_of(transcription_of(CallEngine(1), MIXED, memory, recording=recording))
    assert memory.pieces == {}
