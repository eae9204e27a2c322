"""In which order a client gets the events of a task."""

from datetime import timedelta

from natscribe.client.following import Follower, Partials
from natscribe.schemas.live import SpeakersEvent
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.transcription import SegmentsEvent
from natscribe.schemas.wire import TaskType
from natscribe.settings import Settings

from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import Parts


async def test_events_come_in_order_although_the_clocks_of_servers_differ(parts: Parts, nats: InMemoryNats) -> None:
    # Given a live task, whose segments, changes of speakers and end are stored by servers with different clocks
    audio = {"codec": "pcm_s16le", "sample_rate": 16_000, "channels": 1}
    record = await parts.reaching(State.RUNNING, "live-1", queue=TaskType.LIVE, audio=audio, diarize=True)
    segments = {"attempt": 1, "sequence": 1, "language": "en", "processed_seconds": 1.0, "segments": []}
    speakers = {"sequence": 1, "turns": [], "same": [], "voices": {}, "settled_until": 0.0}
    nats.ahead = timedelta(seconds=0.2)
    event = SegmentsEvent.model_validate(segments | {"task_id": "live-1"})
    await parts.log.append_segments(event, record.metadata, "", after=0)
    nats.ahead = timedelta(seconds=0.1)
    changes = SpeakersEvent.model_validate(speakers | {"task_id": "live-1"})
    await parts.log.append_speakers(changes, record.metadata, after=0)
    nats.ahead = timedelta()
    await parts.log.end(record)
    # When a client follows the task
    follower = Follower(nats.client, Settings(_env_file=None), "live-1", Partials())
    *events, last = [event async for event in follower.with_partials()]
    # Then it gets the segments before what becomes known about their speakers, and the end last
    assert [event for event in events if not isinstance(event, ProgressEvent)] == [event, changes]
    assert isinstance(last, ProgressEvent)
    assert last.state is State.CANCELLED
