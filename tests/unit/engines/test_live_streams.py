"""Live streams in an engine process: what each job replies, and what it leaves of the others."""

from base64 import b64encode

import numpy as np
import numpy.typing as npt
import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import Codec, LiveAudio

from app.engines.audio.limits import Limit
from app.engines.audio.live_streams import MAX_STREAMS, LiveStreams
from app.engines.audio.samples import unpack, unpack_speech
from app.engines.audio.speech_detector import SECTION
from app.engines.audio.windows import FRAME, FRAMES_PER_SECOND, WARM_UP, UnpackedWindow, VoiceDetector
from app.engines.diarization.live_speakers import LiveSpeakers
from app.engines.messages import (
    CloseLiveStream,
    LiveAudioProcessed,
    LiveDiarization,
    LiveSpeakerOptions,
    ProcessLiveAudio,
)
from app.engines.windows import Window
from app.runtime.errors import PermanentError, TaskError, TransientError
from app.speech.live.source import MAX_JOB_BYTES
from tests.constants import Constants

from .opus_files import recorded
from .test_channels import TURNS, only

RATE = 16_000
OPUS = LiveAudio(codec=Codec.OPUS, sample_rate=48_000)
LIMIT = Limit(3600, "AUDIO_MAX_SECONDS")
Samples = npt.NDArray[np.int16]


def loudness(_first: int, _start: int = 0) -> VoiceDetector:
    return lambda samples: np.asarray(np.abs(samples.reshape(-1, FRAME)).max(axis=1, initial=0) * 4, np.float32)


class Unknown(LiveSpeakers):
    """A diarization that detects no speakers."""

    def __init__(self) -> None:
        self.has_news = False
        self.speech = list[float]()  # seconds, in each utterance

    def add(self, utterance: UnpackedWindow) -> None:
        """Detect nobody."""
        self.has_news = True
        self.speech.append((utterance.speech > 0).sum() / FRAMES_PER_SECOND)

    def open(self, utterance: UnpackedWindow) -> None:
        """Recognize nobody."""

    def change(self, _: UnpackedWindow) -> float | None:
        """Notice no change of the speaker."""
        return None

    def diarization(self, _: float) -> LiveDiarization:
        return LiveDiarization(turns=[], merged={}, settled_until=0, embedded=None, state="")


@pytest.fixture
def streams() -> LiveStreams:
    return LiveStreams(LIMIT, loudness)


def signal(*intervals: tuple[float, float], rate: int = RATE) -> Samples:
    """A hum with each loudness, for each number of seconds."""
    levels = np.concatenate([np.full(round(seconds * rate), level) for level, seconds in intervals])
    return np.asarray(levels * np.sin(np.arange(len(levels)) * 2000 / rate) * 16_000, np.int16)


def send(streams: LiveStreams, data: bytes, audio: LiveAudio | None = None, **job: object) -> LiveAudioProcessed:
    fields = {"stream": "a", "audio": audio or LiveAudio(), "data": b64encode(data).decode()}
    return streams.run(ProcessLiveAudio.model_validate(fields | job))


def process(
    streams: LiveStreams, samples: Samples, audio: LiveAudio | None = None, **job: object
) -> LiveAudioProcessed:
    return send(streams, samples.astype("<i2").tobytes(), audio, **job)


def all_of(streams: LiveStreams, samples: Samples, audio: LiveAudio, **job: object) -> list[Window]:
    """The utterances of a stream whose frames have a quarter of a second."""
    size = audio.sample_rate * audio.channels // 4
    reply = [
        process(streams, samples[at : at + size], audio, first=at == 0, end=at + size >= len(samples), **job)
        for at in range(0, len(samples), size)
    ]
    assert reply[-1].open == []
    return [window for reply in reply for window in reply.windows]


def fails(streams: LiveStreams, samples: Samples, *, first: bool = False, stream: str = "a") -> TaskError:
    with pytest.raises(TaskError) as caught:
        process(streams, samples, first=first, stream=stream)
    return caught.value


def test_an_utterance_is_reported_once_and_shown_while_it_continues(streams: LiveStreams) -> None:
    # Given two seconds of speech
    speaking = process(streams, signal((0, 1), (1, 2)), first=True)
    # When the pause comes, and more silence
    paused = process(streams, signal((0, 1)))
    silent = process(streams, signal((0, 1)))
    # Then the utterance is shown, and reported with its audio when it is over
    ((start, end),) = speaking.open[0].regions
    assert (start, end) == pytest.approx((0.7, 3.0), abs=0.05)
    assert (speaking.seconds, speaking.windows, speaking.closing) == (3, [], [])
    assert speaking.complete_until == [pytest.approx(start)]
    (window,) = paused.windows
    assert window.regions == [pytest.approx((0.7, 3.13), abs=0.05)]
    assert window.channel is None
    assert len(unpack(window.samples)) == round((window.end - start) * RATE)
    assert (unpack_speech(window.speech) > 0.5).sum() / FRAMES_PER_SECOND == pytest.approx(2.0, abs=0.1)
    assert (silent.windows, silent.open, silent.seconds) == ([], [], 5)
    assert silent.complete_until == [pytest.approx(5 - 0.3, abs=0.05)]


def test_what_is_open_is_returned_only_on_request(streams: LiveStreams) -> None:
    # Given speech, when the job does not request open utterances, then it is not packed
    assert process(streams, signal((1, 2)), first=True, include_open=False).open == []
    assert process(streams, signal((1, 1))).open


def test_the_end_ends_open_utterances_and_closes_the_stream(streams: LiveStreams) -> None:
    # Given speech, when the stream ends within a word
    reply = process(streams, signal((1, 2)), first=True, end=True)
    # Then the utterance is reported, all is complete, and the stream is over
    assert [window.regions for window in reply.windows] == [[(0, 2)]]
    assert (reply.open, reply.complete_until) == ([], [2])
    assert isinstance(fails(streams, signal((1, 1))), TransientError)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_audio_of_any_rate_has_its_own_times(streams: LiveStreams, rate: int, channels: int) -> None:
    # Given a sentence after a second
    samples = np.repeat(signal((0, 1), (1, 2), (0, 2), rate=rate), channels)
    # When it is processed
    (window,) = all_of(streams, samples, LiveAudio(sample_rate=rate, channels=channels), separate=channels == 1)
    # Then its times are seconds of the recording, and a mix, or the only channel, is no channel of its own
    assert window.channel is None
    assert window.regions == [pytest.approx((0.7, 3.13), abs=0.05)]


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16_000, 2), (44_100, 1), (48_000, 2)])
def test_a_worker_that_continues_in_the_middle_detects_the_same(streams: LiveStreams, rate: int, channels: int) -> None:
    # Given the utterances of eighty seconds
    audio = LiveAudio(sample_rate=rate, channels=channels)
    spoken = signal(*[(level, seconds) for seconds in (1.7, 2.9, 4.1, 3.3, 7.9) * 2 for level in (0, 1)], rate=rate)
    samples = np.repeat(spoken, channels)
    whole = all_of(streams, samples, audio)
    # When another worker continues at second 40, with the audio of the twenty seconds before
    at = round(20.03 * rate) * channels
    again = all_of(streams, samples[at:], audio, start_at=[40], skipped_bytes=2 * at)
    # Then the result from there on is the same
    later = [window for window in whole if window.start >= 40]
    assert later
    assert [window.regions[-1] for window in again] == [window.regions[-1] for window in later]
    first_speaker, second_speaker = unpack(again[-1].samples), unpack(later[-1].samples)
    size = min(len(first_speaker), len(second_speaker))
    assert np.allclose(first_speaker[-size:], second_speaker[-size:], rtol=0, atol=1e-3)


def test_two_channels_are_processed_separately(streams: LiveStreams) -> None:
    # Given two people on two channels, of whom the second one speaks first, and longer
    first_speaker, second_speaker = signal((0, 2), (1, 1), (0, 3)), signal((0, 1), (1, 3), (0, 2))
    samples = np.stack([first_speaker, second_speaker], axis=1).ravel()
    # When the channels are processed separately
    windows = all_of(streams, samples, LiveAudio(channels=2), separate=True)
    # Then each has its utterance, in the order in which they end
    assert [window.channel for window in windows] == [0, 1]
    assert windows[0].regions == [pytest.approx((1.7, 3.13), abs=0.05)]
    assert windows[1].regions == [pytest.approx((0.7, 4.13), abs=0.05)]
    # And mixed they are one
    assert [window.regions for window in all_of(streams, samples, LiveAudio(channels=2))] == [
        [pytest.approx((0.7, 4.13), abs=0.05)]
    ]


def test_utterances_have_a_language_after_each_pause_if_several_people_may_speak() -> None:
    # Given two utterances, of which the second has a pause of 0.3 s, and one of 0.15 s
    samples = signal((0, 1), (1, 1), (0, 1), (1, 1), (0, 0.3), (1, 1), (0, 0.15), (1, 1), (0, 1))

    def last(speakers: LiveSpeakerOptions | None) -> Window:
        streams = LiveStreams(LIMIT, loudness, lambda _, channels: [Unknown() for _ in range(channels)])
        reply = process(streams, samples, first=True, speakers=speakers)
        assert len(reply.speakers) == (1 if speakers else 0)
        return reply.windows[-1]

    # When their speakers are to be found, then regions touch in the longer pause
    window = last(LiveSpeakerOptions())
    assert (window.context, len(window.regions)) == (1, 3)
    assert window.regions[1] == pytest.approx((2.7, 4.15), abs=0.05)
    assert window.regions[2] == pytest.approx((4.15, 6.58), abs=0.05)
    assert window.regions[1][1] == window.regions[2][0]
    assert len(unpack(window.samples)) == round(sum(end - start for start, end in window.regions) * RATE)
    assert len(unpack_speech(window.speech)) == len(unpack(window.samples)) / FRAME
    # And without speakers, an utterance is one region
    assert len(last(None).regions) == 2


class Answered(Unknown):
    """A diarization that detects another person after second 3.1, when this person has spoken for a second."""

    def change(self, utterance: UnpackedWindow) -> float | None:
        """Notice the other person."""
        ((start, end),) = utterance.regions
        return 3.1 if start < 3.1 and end > 4.2 else None


def test_an_utterance_ends_when_another_person_has_spoken_for_a_second() -> None:
    # Given somebody who is answered after a short pause
    samples, people = signal((0, 1), (1, 2), (0, 0.2), (1, 2), (0, 1)), Answered()
    streams, early, late = LiveStreams(LIMIT, loudness, lambda *_: [people]), 4 * RATE, round(4.5 * RATE)
    # When the other person has only begun to speak, then the utterance continues
    begun = process(streams, samples[:early], first=True, speakers=LiveSpeakerOptions())
    assert begun.windows == []
    # When the other person has spoken for a second, then it ends in the pause, although nobody is silent
    answered = process(streams, samples[early:late])
    (first,) = answered.windows
    assert first.regions == [pytest.approx((0.7, 3.1), abs=0.05)]
    assert answered.open[0].start == first.end
    # And the answer follows it without a gap, once it is over, and has its speech for the speakers alone
    (second,) = process(streams, samples[late:]).windows
    assert second.start == first.end
    assert second.end == pytest.approx(5.33, abs=0.05)
    assert people.speech == pytest.approx([2.0, 2.0], abs=0.1)


@pytest.mark.parametrize("job_s", [0.25, 30], ids=["as people speak", "at once"])
def test_speakers_of_a_channel_are_found_in_its_own_speech(job_s: float) -> None:
    # Given a call with pauses, in which each side is faintly in the other channel
    own = [only(TURNS[0], (0, 2), (6, 8)), only(TURNS[1], (3, 5), (9, 11))]
    call = np.stack([own[0] + 0.1 * own[1], own[1] + 0.1 * own[0]], axis=1).clip(-1, 1)
    samples = np.concatenate([call * 32_767, np.zeros((RATE, 2))]).astype("<i2")
    people: list[Unknown] = []

    def found(_: LiveSpeakerOptions, channels: int) -> list[Unknown]:
        people.extend(Unknown() for _ in range(channels))
        return people

    def detector(first: int, start: int) -> VoiceDetector:
        return lambda samples: loudness(first, start)(10 * samples)

    # When its speakers are to be found
    streams, job = LiveStreams(LIMIT, detector, found), round(job_s * RATE)
    audio, fields = LiveAudio(channels=2), {"separate": True, "speakers": LiveSpeakerOptions()}
    windows = list[Window]()
    for at in range(0, len(samples), job):
        windows += process(streams, samples[at : at + job].ravel(), audio, first=not at, **fields).windows
    # Then both channels have all utterances, and only those of its own person have speech for the speakers
    assert [window.channel for window in windows].count(0) == 4
    for number, speakers in enumerate(people):
        is_spoken = [seconds > 1.5 for seconds in speakers.speech]
        assert is_spoken == [number == 0, number == 1, number == 0, number == 1]
        assert min(speakers.speech) < 0.2


def test_each_channel_continues_where_it_was(streams: LiveStreams) -> None:
    # Given two channels of which the first is transcribed up to second 3, the second up to second 5
    speech = signal((1, 2), (0, 2), (1, 2), (0, 2))
    samples = np.stack([speech, speech], axis=1).ravel()
    # When the stream begins again
    audio = LiveAudio(channels=2)
    reply = process(streams, samples, first=True, end=True, audio=audio, separate=True, start_at=[3.0, 5.024])
    # Then nothing before that is reported again
    first, second = reply.windows
    assert (first.channel, second.channel) == (0, 1)
    assert first.regions == [pytest.approx((3.7, 6.13), abs=0.05)]
    assert second.regions == [pytest.approx((5.024, 6.13), abs=0.05)]


def test_streams_do_not_mix(streams: LiveStreams) -> None:
    # Given two streams that take turns
    process(streams, signal((0, 1), (1, 1)), first=True, stream="a")
    process(streams, signal((0, 3)), first=True, stream="b")
    # When one of them begins again, and the other continues
    again = process(streams, signal((0, 1)), first=True, stream="b")
    (window,) = process(streams, signal((0, 1)), stream="a").windows
    # Then each has its own time and audio
    assert again.seconds == 1
    assert window.regions == [pytest.approx((0.7, 2.13), abs=0.05)]


def test_a_job_that_fails_closes_its_own_stream_alone(streams: LiveStreams) -> None:
    # Given two streams
    for name in ("a", "b"):
        process(streams, signal((1, 1)), first=True, stream=name)
    # When a job of one fails
    with pytest.raises(ValueError, match="base64"):
        streams.run(ProcessLiveAudio(stream="a", audio=LiveAudio(), data="?"))
    # Then that one has to begin again, which is no fault of its task, and the other continues
    assert fails(streams, signal((1, 1)), stream="a").detail.code is ErrorCode.ENGINE_FAILED
    assert process(streams, signal((1, 1)), stream="b").seconds == 2


def test_what_cannot_be_decoded_ends_its_stream(streams: LiveStreams) -> None:
    # Given a task that promises Opus, when samples come, then its stream is refused and closed
    with pytest.raises(PermanentError) as caught:
        process(streams, signal((1, 1)), OPUS, first=True)
    assert caught.value.detail.code is ErrorCode.AUDIO_UNREADABLE
    assert isinstance(fails(streams, signal((1, 1))), TransientError)


def test_opus_has_the_times_of_the_recording_and_ends_with_it(streams: LiveStreams) -> None:
    # Given a sentence after a second, as a browser records it
    speech = signal((0, 1), (1, 2), (0, 2), rate=48_000)
    file = recorded("webm", speech[:, np.newaxis])
    # When it comes in two jobs
    half = len(file) // 2
    windows = send(streams, file[:half], OPUS, first=True).windows
    reply = send(streams, file[half:], OPUS, end=True)
    # Then there is one utterance, at its time
    (window,) = [*windows, *reply.windows]
    assert window.regions == [pytest.approx((0.7, 3.13), abs=0.07)]
    assert reply.seconds == pytest.approx(5, abs=0.05)
    assert reply.lost == 0


def test_far_too_much_audio_at_once_is_refused(streams: LiveStreams, constants: Constants) -> None:
    # Given more silence than is allowed, which has few bytes, when it comes in one job, then the error says how to send
    constants(MAX_JOB_SECONDS=20)
    file = recorded("ogg", np.zeros((7 * 48_000, 1), np.int16), bit_rate=6000) * 3
    with pytest.raises(PermanentError, match="more than 20 s in one go: send frames of at most a second"):
        send(streams, file, OPUS, first=True)


def test_a_stream_continues_as_long_as_its_jobs_are_small(streams: LiveStreams) -> None:
    # Given a telephone that is silent, when it comes in jobs of as many bytes as one may have, then all is processed
    telephone = LiveAudio(codec=Codec.MULAW, sample_rate=8000)
    for number in range(1, 4):
        reply = send(streams, b"\xff" * MAX_JOB_BYTES, telephone, first=number == 1)
        assert reply.seconds == pytest.approx(number * MAX_JOB_BYTES / 8000, abs=0.01)


def test_a_worker_that_continues_in_a_file_processes_again_what_the_detector_needs() -> None:
    # Given a detector that notes which frames have audio
    reply = list[bool]()

    def detector(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        loud = np.abs(samples.reshape(-1, FRAME)).max(axis=1, initial=0) > 0.1
        reply.extend(loud.tolist())
        return np.zeros(len(loud), np.float32)

    # When a stream continues at second 40 of a file
    file = recorded("ogg", signal((1, 42), rate=48_000)[:, np.newaxis])
    send(LiveStreams(LIMIT, lambda _first, _start: detector), file, OPUS, first=True, start_at=[40], end=True)
    # Then it processes the section before and what warms the detector up, but not what comes long before
    needed = round(40 * FRAMES_PER_SECOND) - SECTION - WARM_UP
    assert all(reply[needed : 40 * 31])
    assert not any(reply[5 : needed - 40])


def test_a_stream_that_is_closed_makes_room(streams: LiveStreams) -> None:
    # Given as many streams as there may be
    for number in range(MAX_STREAMS):
        process(streams, signal((0, 0.1)), first=True, stream=f"{number}")
    # When one more comes, then it has to wait
    assert isinstance(fails(streams, signal((0, 0.1)), first=True), TransientError)
    # Until one is closed; to close it twice is no error
    for _ in range(2):
        assert streams.run(CloseLiveStream(stream="7")) == LiveAudioProcessed(
            seconds=0, windows=[], open=[], complete_until=[]
        )
    assert process(streams, signal((0, 0.1)), first=True).seconds == pytest.approx(0.1)


def test_a_stream_may_not_be_longer_than_a_recording() -> None:
    # Given a limit of two seconds
    streams = LiveStreams(Limit(2, "AUDIO_MAX_SECONDS"), loudness)
    process(streams, signal((0, 2)), first=True)
    # When more comes, then the error names the setting
    error = fails(streams, signal((0, 0.1)))
    assert isinstance(error, PermanentError)
    assert error.detail.code is ErrorCode.AUDIO_TOO_LARGE
    assert "AUDIO_MAX_SECONDS" in error.detail.message


def test_an_utterance_that_is_closing_is_reported_before_its_pause_is_over(streams: LiveStreams) -> None:
    # Given speech with a pause of 0.4 s
    process(streams, signal((0, 1), (1, 2)), first=True)
    closing = process(streams, signal((0, 0.4)))
    # When the pause continues
    again, over = process(streams, signal((0, 0.05))), process(streams, signal((0, 0.5)))
    # Then the utterance was known before, once, as it became
    assert closing.windows == again.windows == again.closing == []
    assert closing.closing == over.windows


def test_somebody_who_speaks_on_has_not_closed(streams: LiveStreams) -> None:
    process(streams, signal((0, 1), (1, 2)), first=True)
    closing = process(streams, signal((0, 0.4)))
    # When the pause was only a breath
    process(streams, signal((1, 1)))
    over = process(streams, signal((0, 1)))
    # Then the utterance is a longer one
    assert over.windows[0].start == closing.closing[0].start
    assert over.windows[0].end > closing.closing[0].end


def test_an_utterance_has_the_preceding_speech_as_context(streams: LiveStreams) -> None:
    # Given three utterances, of which the last two are short, and a fourth a long time after
    spoken = signal((0, 1), (1, 9), (0, 1), (1, 2), (0, 1), (1, 2), (0, 8), (1, 2), (0, 1))
    windows = all_of(streams, spoken, LiveAudio())
    # Then each has those before it as far as seven seconds hold, but nothing from long ago
    assert [window.context for window in windows] == [0, 0, 1, 0]
    _, second, third, _ = windows
    assert third.regions[: third.context] == second.regions
    assert unpack(third.samples)[: len(unpack(second.samples))].tolist() == unpack(second.samples).tolist()


@pytest.mark.parametrize("silence", [0.0, 0.2, 0.4])
def test_a_client_may_end_an_utterance_before_its_pause_is_over(streams: LiveStreams, silence: float) -> None:
    # Given somebody who has just stopped
    process(streams, signal((0, 1), (1, 2)), first=True)
    paused = process(streams, signal((0, silence)))
    # When the client requests the text
    finalized = process(streams, signal((0, 0.05)), finalize=True)
    # Then the utterance is complete: the one whose text may be there already
    assert [window.end for window in finalized.windows] == pytest.approx([3 + min(silence + 0.05, 0.13)], abs=0.05)
    assert (finalized.open, finalized.closing) == ([], [])
    assert paused.closing in ([], finalized.windows)
    # And whoever speaks on begins another one, with what was said before as its context
    process(streams, signal((1, 2)))
    (window,) = process(streams, signal((0, 1))).windows
    assert (window.start >= finalized.windows[0].end, window.context) == (True, 1)


def test_the_beginning_of_a_word_stays_when_a_client_requests_the_text(streams: LiveStreams) -> None:
    # Given a word that has just begun
    process(streams, signal((0, 1), (1, 0.1)), first=True)
    # When the text is requested, then there is none, and nothing of the word is lost
    assert process(streams, signal((0, 0)), finalize=True).windows == []
    (window,) = process(streams, signal((1, 1), (0, 1))).windows
    assert window.regions == [pytest.approx((0.7, 2.23), abs=0.05)]


def test_the_text_is_requested_of_all_channels(streams: LiveStreams) -> None:
    # Given two people who speak at the same time
    both = LiveAudio(channels=2)
    process(streams, np.repeat(signal((0, 1), (1, 2)), 2), both, first=True, separate=True)
    # When the text is requested, then the utterances of both are complete
    finalized = process(streams, signal((0, 0)), both, finalize=True)
    assert sorted((window.channel, round(window.end)) for window in finalized.windows) == [(0, 3), (1, 3)]


def test_a_worker_that_continues_behind_a_mark_detects_the_same(streams: LiveStreams) -> None:
    # Given speech that a client has cut twice
    parts = [signal((0, 1), (1, 2)), signal((1, 2)), signal((1, 1), (0, 1))]
    cut = [process(streams, part, first=not at, finalize=at < 2) for at, part in enumerate(parts)]
    first, second, third = (reply.windows for reply in cut)
    # When another worker continues after the first text, and reads both marks again
    again = [
        process(streams, part, first=not at, finalize=at < 2, start_at=[first[0].end]) for at, part in enumerate(parts)
    ]
    # Then it detects what is behind
    assert [[window.regions[window.context :] for window in reply.windows] for reply in again] == [
        [],
        *([window.regions[window.context :] for window in windows] for windows in (second, third)),
    ]
