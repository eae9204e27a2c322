"""Uploads to a bucket of NATS whose leader is lost for a moment."""

from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from natscribe.client.bucket import CHUNK_BYTES, Bucket, RetryingPublisher


async def test_an_upload_continues_after_an_election(
    nc: Client, js: JetStreamContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a recording of three chunks, and a bucket
    recording = tmp_path / "meeting.flac"
    recording.write_bytes(bytes(range(256)) * (CHUNK_BYTES // 100))
    await js.create_object_store("audio")
    # When the acknowledgement of the first chunk is lost, and the next request has no responder
    request, published = nc.request, 0

    async def disturbed(subject: str, *args: object, **options: object) -> Msg:
        nonlocal published
        published += subject.startswith("$O.")
        if published == 2 and subject.startswith("$O."):
            raise NoRespondersError
        reply = await request(subject, *args, **options)  # type: ignore[arg-type] # passed on unchanged
        if published == 1 and subject.startswith("$O."):
            raise NatsTimeoutError
        return reply

    monkeypatch.setattr(nc, "request", disturbed)
    assert await Bucket(RetryingPublisher(nc), "audio").upload(recording, "m.flac") is True
    # Then the recording is stored, each chunk once
    assert published == 3 + 1 + 2
    stored = await (await js.object_store("audio")).get("m.flac")
    assert stored.data == recording.read_bytes()
    assert stored.info.chunks == 3
    assert (await js.stream_info("OBJ_audio")).state.messages == 3 + 1
