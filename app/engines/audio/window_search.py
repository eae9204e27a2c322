"""Run `FindWindows` jobs: detect the windows of a recording while it is decoded."""

from collections.abc import Iterator

from faster_whisper.vad import get_vad_model
from natscribe.schemas.transcription import MAX_CHANNELS

from app.engines.audio.channels import channels_differ
from app.engines.audio.decoding import decode, probe
from app.engines.audio.limits import Budget, Limit
from app.engines.audio.samples import pack, pack_speech
from app.engines.audio.speech_detector import speech_in_chunk
from app.engines.audio.windows import detect_windows
from app.engines.messages import FindWindows, RecordingOpened, WindowFound, WindowSearchAdvanced, WindowSearchDone
from app.engines.windows import Window


def find_windows(
    job: FindWindows, limit: Limit
) -> Iterator[RecordingOpened | WindowFound | WindowSearchAdvanced | WindowSearchDone]:
    """Detect the windows of a recording, or of one of its channels, from `job.start_at` (seconds) on.

    A window is up to 20 s of speech. Yield the replies to the job: `RecordingOpened`, which names the channel of the
    windows, then each window and the progress of the search, and at last `WindowSearchDone`.

    Raises:
        PermanentError: audio_unreadable, audio_too_large.
    """
    get_vad_model()  # before the budget, which counts the memory that the recording takes
    budget = Budget(limit)
    duration, channels = probe(job.path, budget)
    limit.check(duration)
    channel = job.channel if channels > 1 else None
    if job.choose and 1 < channels <= MAX_CHANNELS and channels_differ(job.path, budget, duration, channels):
        channel = 0
    yield RecordingOpened(duration_seconds=duration, channels=channels, channel=channel)
    for detected in detect_windows(decode(job.path, budget, channel), job.start_at, speech_in_chunk):
        for window in detected.windows:
            samples, speech = pack(window.samples), pack_speech(window.speech)
            packed = Window(regions=list(window.regions), samples=samples, speech=speech, channel=channel)
            yield WindowFound(window=packed)
        yield WindowSearchAdvanced(seconds=detected.seconds, complete_until=detected.complete_until)
    yield WindowSearchDone(duration_seconds=detected.seconds)
