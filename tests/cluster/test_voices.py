"""Voices in a cluster: what is forgotten is on no server."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from nats.aio.client import Client as Nats
from nats.errors import Error as NatsError
from natscribe.client import Client
from natscribe.schemas.voices import Consent

from app.settings import Settings
from tests.cluster.conftest import workers
from tests.fakes.engine import FakeEngine
from tests.nats_cluster import NatsCluster
from tests.waiting import eventually

RECORDING = Path(__file__).parents[2] / "app/cli/demo/two_readers.flac"
BUCKETS = ("KV_voices", "KV_embeddings")

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("recovery")]


async def test_a_forgotten_voice_does_not_come_back_with_another_leader(
    cluster: NatsCluster, settings: Settings, nc: Nats
) -> None:
    async def held() -> list[int] | None:
        """How many messages each bucket holds; None while one has no leader."""
        try:
            return [(await nc.jetstream().stream_info(bucket)).state.messages for bucket in BUCKETS]
        except NatsError:
            return None

    async with workers(settings, 1, FakeEngine), Client(settings) as client:
        # Given a person who is enrolled
        call = await client.create_transcription_task(RECORDING, diarize=True, identify=True)
        await client.wait_for_result(call)
        consent = Consent(by="Anna", at=datetime.now(UTC))
        anna = await client.enroll_voice(call, "SPEAKER_00", name="Anna", consent=consent)
        assert await held() == [1, 1]
        # When the voice is forgotten, and the server that leads its bucket dies
        await client.forget_voice(anna.voice)
        assert await held() == [0, 0]
        await (await cluster.leader_of("KV_voices")).kill()
        # Then the servers that are left have nothing of it
        assert await eventually(held, within=30) == [0, 0]
        assert [voice async for voice in client.voices()] == []
