"""An engine whose replies are scripted."""

import asyncio
import re
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from itertools import pairwise
from random import Random
from typing import Any

from natscribe.schemas.diarization import Turn
from natscribe.schemas.progress import Stage
from natscribe.schemas.redaction import EntityType
from natscribe.schemas.transcription import Interval, Segment, TranscribeOptions, Word
from natscribe.schemas.wire import Model

from app.engines.diarization import VOICE_NETWORK
from app.engines.messages import (
    LAST_REPLIES,
    AudioRedacted,
    ChunkAnalysed,
    CloseLiveStream,
    DiarizationDone,
    Diarize,
    FindPersons,
    FindWindows,
    Job,
    LiveAudioProcessed,
    LiveDiarization,
    LiveSpeakerOptions,
    Load,
    Loaded,
    LoadVad,
    PersonsFound,
    ProcessLiveAudio,
    RecordingEmbeddings,
    RecordingOpened,
    RedactAudio,
    Reply,
    SpeakerEmbedding,
    StageAdvanced,
    Transcribe,
    VadLoaded,
    WindowFound,
    WindowSearchAdvanced,
    WindowSearchDone,
    WindowsTranscribed,
)
from app.engines.text.redaction.found import Found
from app.engines.windows import Window, WindowText

MODEL = Model(name="fake", revision="0")
WINDOW = 10.0  # seconds
REDACTED = b"redacted "  # how a redacted recording begins
SAMPLES = b64encode(bytes(320_000)).decode()  # of a window


def segment(number: int, text: str = "one two") -> Segment:
    """Return the text of one window of 10 s, with one half of its words in each half."""
    start, said = number * WINDOW, text.split()
    if len(said) == 1:
        said = ["one", "two"]
    first, second = " ".join(said[: len(said) // 2]), " ".join(said[len(said) // 2 :])
    words = [
        Word(start=start, end=start + 4, word=f" {first}", probability=1),
        Word(start=start + 5, end=start + 9, word=f" {second}", probability=1),
    ]
    return Segment(
        start=start,
        end=start + 9,
        text=text,
        language="en",
        words=words,
        confidence=1,
        avg_logprob=-0.1,
        no_speech_prob=0,
    )


def number_of(window: Window) -> int:
    """Return the index of a window in its recording, from 0."""
    return int(window.regions[0][0] // WINDOW)


def voice_of(name: str, recording: int = 1) -> str:
    """Return the embedding of a person: similar in each recording, and unlike that of another person."""
    values = bytearray(Random(name).randbytes(192))  # noqa: S311 -- nothing secret
    values[:2] = recording.to_bytes(2)
    return b64encode(values).decode()


def live_diarization(*turns: Turn, **fields: Any) -> LiveDiarization:
    """Return the live diarization of a channel: these turns, of which none is settled yet, unless `fields` says so."""
    return LiveDiarization.model_validate({"merged": {}, "settled_until": 0.0, "state": "", "turns": turns} | fields)


class FakeEngine:
    """Transcribes `windows` windows, each in a batch of its own, with a change of speaker in the middle."""

    def __init__(self, *, windows: int = 3) -> None:
        self.windows = windows
        self.channels = 1  # of each recording
        self.differ = False  # whether the channels carry different speech
        self.text = "one two"  # of each window
        self.names: list[str] = []  # of persons, which it finds in a text
        self.untranscribed: list[Interval] = []  # of each window
        self.diarized = 0  # recordings
        self.people = ["anna", "boris"]  # who speaks in a recording
        self.in_channel = 1  # people in each channel, if the channels are diarized each on its own
        self.silent = False  # as a window detector that takes long over its first reply
        self.hangs_after: list[int] = []  # windows, one a recording; none: it does not hang
        self.received: list[Job] = []  # all jobs
        self.jobs: list[FindWindows | Diarize] = []  # one a recording
        self.options: list[TranscribeOptions] = []  # one a batch
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.load_failure: Exception | None = None
        self.loads = 0  # that have begun and not ended
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.stopped = 0  # recordings
        self.fail_with: list[Exception | None] = []  # one a recording; None: it goes well
        self.live_streams = dict[str, tuple[float, float]]()  # seconds so far, and the start of the texts
        self.live_speakers: list[LiveDiarization] = []  # a reply with an utterance has one for each channel
        self.speaker_options: list[LiveSpeakerOptions | None] = []  # one a live stream
        self.live_failures: list[Exception] = []  # one a live job
        self.live_starts: list[float] = []  # where a live stream begins in its recording, in seconds; one a stream
        self.loaded: Loaded | None = Loaded(model=MODEL)

    async def load(self) -> None:
        self.loaded = self.loaded or Loaded(model=MODEL)

    async def close(self) -> None:
        """Do nothing."""

    async def transcribes(self, number: int) -> None:
        """Called before a window is transcribed; tests override it."""

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        self.received.append(job)
        match job:
            case LoadVad() | FindPersons() | RedactAudio():
                yield self._reply(job)
            case Load():
                yield await self._load()
            case Transcribe():
                self.options.append(job.options)
                numbers = [number_of(window) for window in job.windows]
                for number in numbers:
                    await self.transcribes(number)
                yield WindowsTranscribed(texts=[self._text(window) for window in job.windows], seconds=0.1)
            case ProcessLiveAudio() | CloseLiveStream():
                yield self._live(job)
            case FindWindows() | Diarize():
                async with aclosing(self._recording(job)) as replies:
                    async for reply in replies:
                        yield reply

    def _reply(self, job: LoadVad | FindPersons | RedactAudio) -> Reply:
        if isinstance(job, RedactAudio):
            job.output.write_bytes(REDACTED + str(job.spans).encode())
            return AudioRedacted(duration_seconds=self.windows * WINDOW)
        return PersonsFound(found=self._persons(job.text)) if isinstance(job, FindPersons) else VadLoaded()

    def _persons(self, text: str) -> list[Found]:
        matches = re.finditer("|".join(map(re.escape, self.names)), text) if self.names else ()
        return [Found(EntityType.PERSON, (match.span(),), 0.6, match.group().casefold()) for match in matches]

    async def _load(self) -> Loaded:
        if self.load_failure is not None:
            raise self.load_failure
        self.loads += 1
        await self.may_load.wait()
        self.loads -= 1
        return self.loaded or Loaded(model=MODEL)

    def _live(self, job: ProcessLiveAudio | CloseLiveStream) -> LiveAudioProcessed:
        if isinstance(job, ProcessLiveAudio):
            if self.live_failures:
                raise self.live_failures.pop(0)
            return self.process_live(job)
        self.live_streams.pop(job.stream, None)
        return LiveAudioProcessed(seconds=0, windows=[], open=[], complete_until=[])

    def process_live(self, job: ProcessLiveAudio) -> LiveAudioProcessed:
        """Detect continuous speech (in the first of separate channels) with a pause every 10 s, and at each mark."""
        a_second = 2 * job.audio.sample_rate * job.audio.channels
        channels = range(job.audio.channels) if job.separate else [None]
        before, start_at = (
            (job.skipped_bytes / a_second, job.start_at[0]) if job.first else self.live_streams[job.stream]
        )
        if job.first:
            self.live_starts.append(before)
            self.speaker_options.append(job.speakers)
        seconds = before + len(b64decode(job.data)) / a_second
        edges = [number * WINDOW for number in range(int(before // WINDOW), int(seconds // WINDOW) + 1)]
        is_cut = job.end or job.finalize
        regions = [*pairwise(edges), *([(edges[-1], seconds)] if is_cut else [])]
        spoken = [(max(start, start_at), end) for start, end in regions if end > max(start, start_at)]
        open_from = seconds if is_cut else max(edges[-1], start_at)
        self.live_streams[job.stream] = seconds, seconds if job.finalize else start_at
        if job.end:
            del self.live_streams[job.stream]
        has_speakers = bool(self.live_speakers and spoken)
        return LiveAudioProcessed(
            speakers=[self.live_speakers.pop(0) for _ in channels] if has_speakers else [],
            seconds=seconds,
            windows=[Window(regions=[region], samples=SAMPLES, channel=channels[0]) for region in spoken],
            open=[
                Window(regions=[region], samples=SAMPLES, channel=channels[0])
                for region in [(open_from, seconds)]
                if seconds > open_from
            ],
            complete_until=[open_from for _ in channels],
        )

    def _text(self, window: Window) -> WindowText:
        segments = [segment(number_of(window), self.text)]
        return WindowText(
            segments=segments,
            untranscribed=self.untranscribed,
            language="en",
            end=window.end,
            channel=window.channel,
        )

    async def _recording(self, job: FindWindows | Diarize) -> AsyncGenerator[Reply, None]:
        self.jobs.append(job)
        done = False
        try:
            error = self.fail_with.pop(0) if self.fail_with else None
            if error is not None:
                raise error
            if self.silent:
                await asyncio.Event().wait()
            hangs_after = self.hangs_after.pop(0) if self.hangs_after else self.windows
            for windows, replies in enumerate(self._steps(job)):  # the first one is no window
                for reply in replies:
                    done = isinstance(reply, LAST_REPLIES)
                    yield reply
                await self.may_go_on.wait()
                if windows == hangs_after < self.windows:
                    await asyncio.Event().wait()
        finally:
            self.stopped += not done

    def embedded(self, channel: int | None = None) -> RecordingEmbeddings:
        """Each of `people` speaks for half of the recording, or has a channel; equal names are the same person."""
        seconds = self.windows * WINDOW / 2
        people = self.people
        if channel is not None:
            people = [self.people[channel], f"a colleague of {self.people[channel]}"][: self.in_channel]
        speakers = [
            SpeakerEmbedding(
                speaker=f"SPEAKER_{number:02}",
                seconds=seconds,
                agreement=0.9,
                values=voice_of(name, self.diarized),
                telephone=voice_of(f"{name} on the telephone", self.diarized),
            )
            for number, name in enumerate(people)
        ]
        return RecordingEmbeddings(model=VOICE_NETWORK.model, speakers=speakers)

    def _steps(self, job: FindWindows | Diarize) -> Iterable[Sequence[Reply]]:
        duration = self.windows * WINDOW
        if isinstance(job, FindWindows):
            channel = 0 if job.choose and self.differ else job.channel if self.channels > 1 else None
            yield [RecordingOpened(duration_seconds=duration, channels=self.channels, channel=channel)]
            for number in range(int(job.start_at // WINDOW), self.windows):
                start, end = number * WINDOW, (number + 1) * WINDOW
                window_found = WindowFound(window=Window(regions=[(start, end)], samples=SAMPLES, channel=channel))
                yield [
                    window_found,
                    WindowSearchAdvanced(seconds=end, complete_until=end),
                    WindowSearchAdvanced(seconds=end, complete_until=end),
                ]
            yield [WindowSearchDone(duration_seconds=duration)]
        else:
            self.diarized += 1
            half_done = StageAdvanced(stage=Stage.DIARIZING, processed_seconds=duration / 2, duration_seconds=duration)
            yield [half_done, ChunkAnalysed(index=0, revision=MODEL.revision, record="")]
            speakers = job.max_speakers or (2 if job.channel is None else self.in_channel)
            turns = [
                Turn(start=half * 5.0, end=half * 5.0 + 5, speaker=f"SPEAKER_0{half % speakers}")
                for half in range(2 * self.windows)
            ]
            embedded = self.embedded(job.channel) if job.embed else None
            yield [DiarizationDone(turns=turns, duration_seconds=duration, model=MODEL, embedded=embedded)]
