"""In which order a client gets the events of a task."""

from datetime import timedelta

from natscribe.client.following import Follower, Partials
from natscribe.schemas.live import SpeakersEvent
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.transcription import SegmentsEvent
from natscribe.schemas.wire import Lane
from natscribe.settings import Settings

from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import Parts


async def test_speakers_follow_their_segments_although_the_clocks_of_servers_differ(
    parts: Parts, nats: InMemoryNats
) -> None:
    # Given a live task whose segments are stored by a server with a clock that is ahead of the others
    audio = {"codec": "pcm_s16le", "sample_rate": 16_000, "channels": 1}
    record = await parts.reaching(State.RUNNING, "live-1", queue=Lane.LIVE, audio=audio, diarize=True)
    segments = {"attempt": 1, "sequence": 1, "language": "en", "processed_seconds": 1.0, "segments": []}
    speakers = {"sequence": 1, "turns": [], "same": [], "voices": {}, "settled_until": 0.0}
    nats.ahead = timedelta(seconds=0.2)
    event = SegmentsEvent.model_validate(segments | {"task_id": "live-1"})
    await parts.log.append_segments(event, record.metadata, "", after=0)
    nats.ahead = timedelta()
    changes = SpeakersEvent.model_validate(speakers | {"task_id": "live-1"})
    await parts.log.append_speakers(changes, record.metadata, after=0)
    await parts.log.end(record)
    # When a client follows the task
    follower = Follower(nats.client, Settings(_env_file=None), "live-1", Partials())
    events = [event async for event in follower.with_partials() if not isinstance(event, ProgressEvent)]
    # Then it gets the segments before what becomes known about their speakers
    assert events == [event, changes]
