from hashlib import sha256
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.object_store import ObjectStore

from app.command.embedded import NatsServer, free_port
from app.runtime.errors import TaskError, TransientError
from app.settings import Settings
from app.storage.recordings.recording import RecordingStore
from app.storage.recordings.stores import make_recording_store

CONTENT = bytes(range(256)) * 4000  # about 1 MB, several chunks


@pytest.fixture
async def bucket(js: JetStreamContext) -> ObjectStore:
    return await js.create_object_store("audio")


@pytest.fixture
def in_bucket(settings: Settings, nc: Client, scratch: Path) -> RecordingStore:
    return make_recording_store(settings.model_copy(update={"audio_store": "nats://audio"}), nc)


async def refusal(recordings: RecordingStore, audio_file_id: str) -> TaskError:
    with pytest.raises(TaskError) as caught:
        async with recordings.fetch(audio_file_id):
            pass
    return caught.value


async def test_a_recording_is_fetched_from_the_bucket_and_the_copy_removed(
    in_bucket: RecordingStore, bucket: ObjectStore, scratch: Path
) -> None:
    # Given a recording in the bucket, under a name that is no file name
    await bucket.put("../2026/Größe & Co.flac", CONTENT)

    # When it is fetched
    async with in_bucket.fetch("../2026/Größe & Co.flac") as recording:
        # Then it is here, with its size and hash
        assert recording.path.read_bytes() == CONTENT
        assert (recording.path.stat().st_size, recording.sha256) == (len(CONTENT), sha256(CONTENT).hexdigest())

    # And afterwards the copy is gone
    assert list(scratch.iterdir()) == []


async def test_a_recording_that_was_changed_in_the_bucket_is_not_used(
    in_bucket: RecordingStore, bucket: ObjectStore, js: JetStreamContext, scratch: Path
) -> None:
    # Given a recording of which one byte is not what it was when it was put there
    info = await bucket.put("meeting.flac", CONTENT[:1000])
    await js.purge_stream("OBJ_audio", subject=f"$O.audio.C.{info.nuid}")
    await js.publish(f"$O.audio.C.{info.nuid}", b"\xff" + CONTENT[1:1000])

    # When it is fetched, then its hash shows that
    assert isinstance(await refusal(in_bucket, "meeting.flac"), TransientError)
    assert list(scratch.iterdir()) == []


async def test_an_outage_of_nats_is_a_transient_error(settings: Settings, tmp_path: Path, scratch: Path) -> None:
    # Given a server that was stopped after it was connected to
    server = NatsServer(tmp_path / "nats", free_port())
    await server.start()
    client = await nats.connect(server.url, allow_reconnect=False)
    recordings = make_recording_store(settings.model_copy(update={"audio_store": "nats://audio"}), client)
    await server.stop()

    # When a recording is fetched or deleted, then trying again can help
    error = await refusal(recordings, "meeting.flac")
    assert isinstance(error, TransientError)
    with pytest.raises(TransientError):
        await recordings.delete("meeting.flac")
    assert list(scratch.iterdir()) == []
    await client.close()


async def test_a_fetch_leaves_no_consumer_behind(
    in_bucket: RecordingStore, bucket: ObjectStore, js: JetStreamContext
) -> None:
    # Given a recording that was fetched
    await bucket.put("meeting.flac", CONTENT)
    async with in_bucket.fetch("meeting.flac"):
        pass

    # When the bucket is inspected, then no consumer reads from it any more
    assert (await js.stream_info("OBJ_audio")).state.consumer_count == 0
