"""The live streams of an engine process: decodes their audio and detects their utterances, job by job.

A job brings the next piece of a stream's audio; the state of the stream stays in the process from one job to the next.
"""

from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING

import av
import numpy as np
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import Codec

from app.engines.audio.crosstalk import Crosstalk
from app.engines.audio.limits import Limit
from app.engines.audio.live_decoding import SampleDecoder, unreadable
from app.engines.audio.live_files import FileDecoder
from app.engines.audio.mixing import Mixer
from app.engines.audio.samples import pack, pack_speech
from app.engines.audio.speech_detector import SECTION, SpeechDetector
from app.engines.audio.utterances import UtteranceDetector, between_pauses, first_frame
from app.engines.audio.windows import FRAMES_PER_SECOND, WARM_UP, UnpackedWindow, VoiceDetector
from app.engines.messages import CloseLiveStream, LiveAudioProcessed, LiveSpeakerOptions, ProcessLiveAudio
from app.engines.windows import Window
from app.runtime.errors import TransientError

if TYPE_CHECKING:
    from app.engines.diarization.live_speakers import LiveSpeakers

MAX_STREAMS = 64
MAX_JOB_SECONDS = 600.0  # of audio in a job
# A model transcribes a short utterance better with the speech before it (docs/decisions/0030). Whisper encodes at
# least ten seconds, so only the decoder takes longer for it; more context than this saves no more errors.
_CONTEXT_S = 7.0  # with the utterance; one that was cut without a pause has at least 7.5 s, so it is never context
_MAX_CONTEXT_GAP_S = 5.0
_MAX_CONTEXT = 16  # utterances

DetectorFactory = Callable[[int, int], VoiceDetector]  # arguments: those of `SpeechDetector`
SpeakersFactory = Callable[[LiveSpeakerOptions, int], Sequence["LiveSpeakers"]]  # one for each channel, or the mix
# What the detector detects at a time depends on the audio of this length before it.
_LEAD_S = (SECTION + WARM_UP) / FRAMES_PER_SECOND + 1.0
_FRAMES_OF_WHOLE_SAMPLES = 5  # this many frames, or a multiple, are whole samples at every usual rate


class LiveStreams:
    """All live streams of an engine process, by name. A job that fails closes its own stream, and no other."""

    def __init__(
        self, limit: Limit, detector: DetectorFactory = SpeechDetector, speakers: SpeakersFactory | None = None
    ) -> None:
        """`limit`: how long a stream may be. `detector`: creates a voice activity detector.

        `speakers`: creates a `LiveSpeakers` for each channel of a stream, or for the mix; None: no stream is diarized.
        """
        self._limit = limit
        self._detector = detector
        self._speakers = speakers
        self._streams: dict[str, _Stream] = {}

    def run(self, job: ProcessLiveAudio | CloseLiveStream) -> LiveAudioProcessed:
        """Process the audio of a `ProcessLiveAudio` job and return what was detected, or close a stream.

        A job with `first` creates its stream. A job with `end`, an error, or a `CloseLiveStream` job closes it.

        Raises:
            PermanentError: audio_unreadable, audio_too_large.
            TransientError: engine_failed: the stream is unknown and has to begin again, there are too many streams, or
                the decoding thread makes no progress.
        """
        if isinstance(job, CloseLiveStream):
            self._close(job.stream)
            return LiveAudioProcessed(seconds=0, windows=[], open=[], complete_until=[])
        with ExitStack() as closing:
            closing.callback(self._close, job.stream)
            reply = self._stream(job).process(job)
            if not job.end:
                closing.pop_all()
        return reply

    def _stream(self, job: ProcessLiveAudio) -> "_Stream":
        if job.first:
            self._close(job.stream)
            if len(self._streams) >= MAX_STREAMS:
                message = f"This worker transcribes {MAX_STREAMS} live streams already: start more workers."
                raise TransientError(ErrorCode.ENGINE_FAILED, message)
            self._streams[job.stream] = _Stream(job, self._limit, self._detector, self._speakers)
        elif job.stream not in self._streams:
            message = "The engine does not know the live stream any longer: it has to begin again."
            raise TransientError(ErrorCode.ENGINE_FAILED, message)
        return self._streams[job.stream]

    def _close(self, name: str) -> None:
        stream = self._streams.pop(name, None)
        if stream is not None:
            stream.decoder.close()


@dataclass(eq=False, slots=True)
class _Channel:
    """Detects the utterances in one channel of a live stream, or in its mix (`number` is None).

    With each utterance it returns the utterance's context, i.e. short utterances just before it. The model transcribes
    the context once more together with the utterance, because that improves the text of the utterance.
    """

    number: int | None
    mixer: Mixer
    utterances: UtteranceDetector
    speakers: "LiveSpeakers | None"
    crosstalk: Crosstalk | None  # of the channels of the stream, if each has speakers of its own
    _before: list[UnpackedWindow] = field(default_factory=list)  # as far as they are context of the next utterance
    _unlabelled: list[UnpackedWindow] = field(default_factory=list)  # complete utterances

    def process(self, frame: av.AudioFrame | None) -> Iterator[Window]:
        """Process the next frame, and yield the utterances that are complete now; None: the audio has ended."""
        for samples in self.mixer.flush() if frame is None else self.mixer.mix(frame):
            if self.crosstalk:
                self.crosstalk.append(self.number or 0, samples)
            yield from self._complete(self.utterances.process(samples))
        if frame is None:
            yield from self._complete(self.utterances.flush())

    def finalize(self, at: float | None = None) -> Iterator[Window]:
        """End the utterance in progress, `at` a time within it (seconds) or where its speech ends, and yield it."""
        yield from self._complete(self.utterances.finalize(at))

    def answered(self) -> Iterator[Window]:
        """End the utterance in progress in the pause after which another person has begun to speak, and yield it."""
        if self.speakers:
            while (utterance := self.utterances.current()) and (end := self.speakers.change(self._own(utterance))):
                yield from self.finalize(end)
                self._before.clear()  # the context of a person is what the same person has said

    def speaking(self) -> str | None:
        """Label the speakers of the complete utterances; return the label of who is speaking at the end of the audio.

        The job's audio of all channels has to be processed before. None: nobody is speaking, or the speaker is unknown.
        """
        if self.speakers is None:
            return None
        while self._unlabelled:
            self.speakers.add(self._own(self._unlabelled.pop(0)))
        utterance = self.utterances.current()
        return self.speakers.open(self._own(utterance)) if utterance else None

    def open(self) -> Iterator[Window]:
        if window := self.utterances.open():
            yield self._packed(window, [])

    def closing(self) -> Iterator[Window]:
        if window := self.utterances.closing():
            yield self._packed(window, self._context_of(window))

    def _own(self, utterance: UnpackedWindow) -> UnpackedWindow:
        return self.crosstalk.without(self.number or 0, utterance) if self.crosstalk else utterance

    def _complete(self, windows: Iterable[UnpackedWindow]) -> Iterator[Window]:
        for window in windows:
            if self.speakers:
                self._unlabelled.append(window)
            yield self._packed(window, self._context_of(window))
            self._before = [*self._before, window][-_MAX_CONTEXT:]

    def _context_of(self, window: UnpackedWindow) -> list[UnpackedWindow]:
        """Return the context of the utterance `window`: utterances just before it that are transcribed again with it.

        Each ended at most _MAX_CONTEXT_GAP_S seconds before `window` begins. Together with `window` they are at most
        _CONTEXT_S seconds long. An utterance that was cut because of its length is longer than that, so it is never
        context.
        """
        context = list[UnpackedWindow]()
        ((start, end),) = window.regions  # an utterance has one
        room = _CONTEXT_S - (end - start)
        for before in reversed(self._before):
            ((before_start, before_end),) = before.regions
            room -= before_end - before_start
            if room < 0 or start - before_end > _MAX_CONTEXT_GAP_S:
                break
            context.insert(0, before)
        return context

    def _packed(self, window: UnpackedWindow, context: Sequence[UnpackedWindow]) -> Window:
        windows = [*context, window]
        parts = [list(between_pauses(part)) if self.speakers else part.regions for part in windows]
        return Window(
            regions=[region for regions in parts for region in regions],
            samples=pack(np.concatenate([part.samples for part in windows])),
            speech=pack_speech(np.concatenate([part.speech for part in windows])),
            channel=self.number,
            context=sum(map(len, parts[:-1])),
        )


class _Stream:
    """One live stream: its decoder, and the utterance detection of its channels."""

    def __init__(
        self, job: ProcessLiveAudio, limit: Limit, detector: DetectorFactory, speakers: SpeakersFactory | None
    ) -> None:
        self._limit = limit
        first, self.decoder = _decoder(job)
        separate = job.separate and job.audio.channels > 1
        numbers = list(range(job.audio.channels)) if separate else [None]
        starts = dict(enumerate(job.start_at))
        people = dict(enumerate(speakers(job.speakers, len(numbers)) if speakers and job.speakers else ()))
        crosstalk = Crosstalk(first) if people and separate else None
        self._channels = list[_Channel]()
        for index, number in enumerate(numbers):
            start = starts.get(index, 0.0)
            utterances = UtteranceDetector(start, detector(first_frame(start), first), first)
            mixer = Mixer(number, job.audio.channels)
            self._channels.append(_Channel(number, mixer, utterances, people.get(index), crosstalk))

    def process(self, job: ProcessLiveAudio) -> LiveAudioProcessed:
        """Process the audio of a job; return the utterances that are now complete, in progress, or in a pause."""
        windows = sorted(self._completed(job), key=lambda window: window.end)
        speaking = [channel.speaking() for channel in self._channels]
        people = [channel.speakers for channel in self._channels if channel.speakers]
        has_news = any(speakers.has_news for speakers in people)
        return LiveAudioProcessed(
            seconds=self._seconds,
            windows=windows,
            open=[window for channel in self._channels for window in channel.open()] if job.include_open else [],
            closing=[window for channel in self._channels for window in channel.closing()],
            complete_until=[channel.utterances.buffer.complete_until for channel in self._channels],
            lost=self.decoder.lost,
            speaking=speaking,
            speakers=[speakers.diarization(self._seconds) for speakers in people] if has_news else [],
        )

    def _completed(self, job: ProcessLiveAudio) -> Iterator[Window]:
        """Decode the audio of a job, and yield each utterance that is now complete, as a `Window`."""
        before = self._seconds
        for frame in self._frames(job):
            for channel in self._channels:
                yield from channel.process(frame)
            self._check(before)
        for channel in self._channels:
            if job.end:
                yield from channel.process(None)
            elif job.finalize:
                yield from channel.finalize()
            else:
                yield from channel.answered()

    @property
    def _seconds(self) -> float:
        return self._channels[0].utterances.buffer.seconds

    def _frames(self, job: ProcessLiveAudio) -> Iterator[av.AudioFrame]:
        yield from self.decoder.decode(b64decode(job.data, validate=True))
        if job.end:
            yield from self.decoder.end()

    def _check(self, before: float) -> None:
        """Check how long the stream and the audio of the current job are.

        `before`: how long the stream was before the job, in seconds.

        Raises:
            PermanentError: audio_too_large: the stream is too long; audio_unreadable: the job has too much audio.
        """
        self._limit.check(self._seconds)
        if self._seconds - before > MAX_JOB_SECONDS:
            what = f"has more than {MAX_JOB_SECONDS:g} s in one go: send frames of at most a second"
            raise unreadable(before, what)


def _decoder(job: ProcessLiveAudio) -> tuple[int, SampleDecoder | FileDecoder]:
    """Create the decoder of a new stream; return the number of the first frame of its output, and the decoder.

    Frames are those of the voice activity detector, counted from the start of the live audio. If the audio of the job
    begins in the middle of the live audio, the decoder skips the bytes before the next whole frame.
    """
    audio = job.audio
    if audio.codec is Codec.OPUS:
        return 0, FileDecoder(audio, min(job.start_at, default=0.0) - _LEAD_S)
    if not job.skipped_bytes:
        return 0, SampleDecoder(audio)
    seconds = _FRAMES_OF_WHOLE_SAMPLES / FRAMES_PER_SECOND
    steps = ceil(job.skipped_bytes / audio.sample_bytes / audio.sample_rate / seconds)
    skip = round(steps * seconds * audio.sample_rate) * audio.sample_bytes - job.skipped_bytes
    return steps * _FRAMES_OF_WHOLE_SAMPLES, SampleDecoder(audio, skip)
