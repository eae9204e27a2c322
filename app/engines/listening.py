"""Listening: a recording to windows of speech, told as they are found."""

from collections.abc import Iterator

from faster_whisper.vad import get_vad_model

from app.engines.decoding import Limit, decode, measure
from app.engines.messages import Listen, Listened, ListeningDone, StageAdvanced, WindowFound, WindowSound
from app.engines.samples import pack
from app.engines.windows import Window, listen
from schemas.progress import Stage


def prepare() -> None:
    """Load the voice detector, which stays loaded."""
    get_vad_model()


def find_windows(job: Listen, limit: Limit) -> Iterator[StageAdvanced | WindowFound | Listened | ListeningDone]:
    """Find the windows of a recording from `job.start_at` on.

    Raises PermanentError: audio_unreadable, audio_too_large.
    """
    duration = measure(job.path)
    limit.check(duration)
    yield StageAdvanced(stage=Stage.DECODING, processed_seconds=job.start_at, duration_seconds=duration)
    for heard in listen(decode(job.path, limit), job.start_at):
        for window in heard.windows:
            yield WindowFound(window=_packed(window))
        yield Listened(seconds=heard.seconds, settled=heard.settled)
    yield ListeningDone(duration_seconds=heard.seconds)


def _packed(window: Window) -> WindowSound:
    return WindowSound(start=window.start, end=window.end, samples=pack(window.samples))
