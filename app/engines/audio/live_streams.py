"""The live streams that an engine process hears: each keeps its state from one job to the next."""

from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import ceil

import av
import numpy as np
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import Codec
from natscribe.schemas.windows import Window

from app.engines.audio.limits import Limit
from app.engines.audio.live_decoding import LiveDecoder, SampleDecoder, unreadable
from app.engines.audio.live_files import FileDecoder
from app.engines.audio.mixing import Mixer
from app.engines.audio.samples import pack
from app.engines.audio.speech_detector import SECTION, SpeechDetector
from app.engines.audio.utterances import UtteranceDetector, first_frame
from app.engines.audio.windows import FRAMES_PER_SECOND, WARM_UP, UnpackedWindow, VoiceDetector
from app.engines.messages import CloseLiveStream, LiveAudioProcessed, ProcessLiveAudio
from app.errors import TransientError

MAX_STREAMS = 64
MAX_JOB_BYTES = 1024**2  # of sound in a job
# A model writes a short utterance better if it hears what was said before (docs/decisions/0030). Whisper encodes at
# least ten seconds, so only the decoder takes longer for it; more than this saves no more errors.
_HEARD_S = 7.0  # an utterance that was cut without a pause has 7.5 at least, so it is never context
_LONG_AGO_S = 5.0
_MOST_BEFORE = 16  # utterances
MAX_JOB_SECONDS = 600.0  # of sound in a job

DetectorFactory = Callable[[int, int], VoiceDetector]  # arguments: those of `SpeechDetector`
_HEARD_AGAIN_S = (
    SECTION + WARM_UP
) / FRAMES_PER_SECOND + 1.0  # so much sound before a second decides what is heard there
_FRAMES_OF_WHOLE_SAMPLES = 5  # so many frames, or a multiple, are whole samples at every usual rate

EMPTY_REPLY = LiveAudioProcessed(seconds=0, windows=[], open=[], complete_until=[])


class LiveStreams:
    """All live streams of an engine process, by name; if a job fails, only its own stream is forgotten."""

    def __init__(self, limit: Limit, voice: DetectorFactory = SpeechDetector) -> None:
        self._limit = limit
        self._voice = voice
        self._streams: dict[str, _Stream] = {}

    def run(self, job: ProcessLiveAudio | CloseLiveStream) -> LiveAudioProcessed:
        """Run a job of one stream.

        A `ProcessLiveAudio` job with `first` creates the stream. A job with `end`, an error, or a
        `CloseLiveStream` job removes it.

        Raises:
            PermanentError: audio_unreadable, audio_too_large.
            TransientError: engine_failed: the stream is unknown and has to begin again, or there are too many.
        """
        if isinstance(job, CloseLiveStream):
            self._forget(job.stream)
            return EMPTY_REPLY
        done = False
        try:
            heard = self._stream(job).process(job)
            done = not job.end
        finally:
            if not done:
                self._forget(job.stream)
        return heard

    def _stream(self, job: ProcessLiveAudio) -> "_Stream":
        if job.first:
            self._forget(job.stream)
            if len(self._streams) >= MAX_STREAMS:
                message = f"This worker listens to {MAX_STREAMS} live streams already: start more workers."
                raise TransientError(ErrorCode.ENGINE_FAILED, message)
            self._streams[job.stream] = _Stream(job, self._limit, self._voice)
        elif job.stream not in self._streams:
            message = "The engine does not know the live stream any longer: it has to begin again."
            raise TransientError(ErrorCode.ENGINE_FAILED, message)
        return self._streams[job.stream]

    def _forget(self, name: str) -> None:
        stream = self._streams.pop(name, None)
        if stream is not None:
            stream.close()


class _Channel:
    """One channel of a live stream, or all channels mixed (`number` is null): its samples become utterances."""

    def __init__(self, number: int | None, mixer: Mixer, start_at: float, voice: DetectorFactory, begin: int) -> None:
        self._number = number
        self._mixer = mixer
        self._utterances = UtteranceDetector(start_at, voice(first_frame(start_at), begin), begin)
        self._before: list[UnpackedWindow] = []  # the last utterances, as far as they are context of the next one

    @property
    def seconds(self) -> float:
        return self._utterances.seconds

    @property
    def complete_until(self) -> float:
        return self._utterances.complete_until

    def process(self, frame: av.AudioFrame) -> Iterator[Window]:
        for samples in self._mixer.mix(frame):
            yield from self._complete(self._utterances.process(samples))

    def end(self) -> Iterator[Window]:
        for samples in self._mixer.flush():
            yield from self._complete(self._utterances.process(samples))
        yield from self._complete(self._utterances.end())

    def open(self) -> list[Window]:
        found = self._utterances.open()
        return [self._packed(found, [])] if found else []

    def closing(self) -> list[Window]:
        found = self._utterances.closing()
        return [self._packed(found, self._context_of(found))] if found else []

    def _complete(self, windows: Iterable[UnpackedWindow]) -> Iterator[Window]:
        for window in windows:
            yield self._packed(window, self._context_of(window))
            self._before = [*self._before, window][-_MOST_BEFORE:]

    def _context_of(self, window: UnpackedWindow) -> list[UnpackedWindow]:
        """Return the utterances just before `window` that are its context.

        Together with `window` they are at most _HEARD_S long. Each ended at most _LONG_AGO_S before `window`, and with
        a pause: utterances that are cut without one are longer than _HEARD_S.
        """
        found = list[UnpackedWindow]()
        ((start, end),) = window.regions  # an utterance has one
        room = _HEARD_S - (end - start)
        for before in reversed(self._before):
            ((began, ended),) = before.regions
            room -= ended - began
            if room < 0 or start - ended > _LONG_AGO_S:
                break
            found.insert(0, before)
        return found

    def _packed(self, window: UnpackedWindow, context: Sequence[UnpackedWindow]) -> Window:
        heard = [*context, window]
        return Window(
            regions=[region for each in heard for region in each.regions],
            samples=pack(np.concatenate([each.samples for each in heard])),
            channel=self._number,
            context=sum(len(each.regions) for each in context),
        )


class _Stream:
    """One live stream: its decoder, and its channels, which find utterances."""

    def __init__(self, job: ProcessLiveAudio, limit: Limit, voice: DetectorFactory) -> None:
        self._limit = limit
        begin, self._decoder = _decoder(job)
        separate = job.separate and job.audio.channels > 1
        numbers = list(range(job.audio.channels)) if separate else [None]
        starts = dict(enumerate(job.start_at))
        self._channels = [
            _Channel(number, Mixer(number, job.audio.channels), starts.get(place, 0.0), voice, begin)
            for place, number in enumerate(numbers)
        ]

    def process(self, job: ProcessLiveAudio) -> LiveAudioProcessed:
        """Hear the sound of a job; return the utterances that are complete, open and closing after it."""
        found, before = list[Window](), self._seconds
        for frame in self._frames(job):
            for channel in self._channels:
                found += channel.process(frame)
            self._check(before)
        if job.end:
            found += [window for channel in self._channels for window in channel.end()]
        return LiveAudioProcessed(
            seconds=self._seconds,
            windows=sorted(found, key=lambda window: window.end),
            open=[window for channel in self._channels for window in channel.open()] if job.include_open else [],
            closing=[window for channel in self._channels for window in channel.closing()],
            complete_until=[channel.complete_until for channel in self._channels],
            lost=self._decoder.lost,
        )

    def close(self) -> None:
        """Close the decoder."""
        self._decoder.close()

    @property
    def _seconds(self) -> float:
        return self._channels[0].seconds

    def _frames(self, job: ProcessLiveAudio) -> Iterator[av.AudioFrame]:
        yield from self._decoder.decode(_sound(job))
        if job.end:
            yield from self._decoder.end()

    def _check(self, before: float) -> None:
        """Check the lengths of the stream and of the job; `before`: seconds of the stream before the job.

        Raises:
            PermanentError: audio_too_large: the stream is too long; audio_unreadable: the job has too much sound.
        """
        self._limit.check(self._seconds)
        if self._seconds - before > MAX_JOB_SECONDS:
            what = f"has more than {MAX_JOB_SECONDS:g} s in one go: send frames of at most a second"
            raise unreadable(before, what)


def _decoder(job: ProcessLiveAudio) -> tuple[int, LiveDecoder]:
    """Return the number of the voice detector's frame at which the sound of a job begins, and a new decoder.

    If the sound begins in the middle of a stream, the decoder skips the bytes before the next whole frame.
    """
    audio = job.audio
    if audio.codec is Codec.OPUS:
        return 0, FileDecoder(audio, min(job.start_at, default=0.0) - _HEARD_AGAIN_S)
    if not job.skipped_bytes:
        return 0, SampleDecoder(audio)
    whole = audio.sample_bytes
    seconds = _FRAMES_OF_WHOLE_SAMPLES / FRAMES_PER_SECOND
    steps = ceil(job.skipped_bytes / whole / audio.sample_rate / seconds)
    skip = round(steps * seconds * audio.sample_rate) * whole - job.skipped_bytes
    return steps * _FRAMES_OF_WHOLE_SAMPLES, SampleDecoder(audio, skip)


def _sound(job: ProcessLiveAudio) -> bytes:
    if len(job.data) > MAX_JOB_BYTES * 4 // 3 + 4:
        message = f"a job has more than {MAX_JOB_BYTES} bytes of sound"
        raise ValueError(message)
    return b64decode(job.data, validate=True)
