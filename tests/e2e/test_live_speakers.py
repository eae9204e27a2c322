"""Conversations that are played to real workers: who speaks, as published while people speak and in the result.

CONVERSATIONS names a folder with others (recordings with their truth beside them), to measure.
"""

import asyncio
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from natscribe.client import Client
from natscribe.schemas.live import SpeakersEvent
from natscribe.schemas.transcription import Segment, SegmentsEvent

from tests.e2e.conftest import Running, owner_of, running, servers
from tests.e2e.test_live_recovery import RARE
from tests.playing import Seen, is_final, play
from tests.truth.attributed import time_errors
from tests.truth.conversations import Conversation, conversations_in
from tests.truth.recordings import RATE, channels_of

TALK = Path(__file__).parents[1] / "recordings" / "talk"
CONVERSATIONS = conversations_in(Path(os.environ.get("CONVERSATIONS", TALK)))
# Of the time of a conversation: as published with the segments, and in the result.
MAX_PUBLISHED = 0.05
MAX_RESULT = 0.02

pytestmark = [pytest.mark.xdist_group("recovery"), pytest.mark.timeout(3600)]


@dataclass
class Measured:
    """What was measured in one conversation: shares of the time, and delays in seconds."""

    published: float
    result: float
    relabelled: float
    speakers: int
    delays: list[float]

    def __str__(self) -> str:
        half, most = np.quantile(self.delays or [0.0], (0.5, 0.95))
        return (
            f"under another speaker {self.published:.2%} as published, {self.result:.2%} in the result; "
            f"{self.relabelled:.2%} relabelled; text after {half:.1f} s (p50), {most:.1f} s (p95)"
        )


async def played(
    client: Client,
    conversation: Conversation,
    workers: tuple[Running, ...] = (),
    blow: signal.Signals = signal.SIGKILL,
) -> Measured:
    """Play a conversation as it was spoken; the one of the `workers` that has the task gets the `blow` midway."""
    sound, seen = channels_of(conversation.path)[0], Seen()
    async with client.live(diarize=True) as live:
        following, began = asyncio.create_task(seen.follow(live)), time.monotonic()
        playing = asyncio.create_task(play(live, sound))
        if workers:
            await seen.until(is_final)
            await seen.until(is_final, after=began + len(sound) / RATE / 2)
            (await owner_of(client, live.task_id, workers)).process.send_signal(blow)
        await playing
        await following
        result = await live.result()
    finals = [(at, event) for at, event in seen.events if isinstance(event, SegmentsEvent) and event.segments]
    published = [segment for _, event in finals for segment in event.segments]
    events = [event for _, event in seen.events if isinstance(event, SpeakersEvent)]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    known = [segment for segment in published if segment.speaker is not None]
    changed = [turn for event in events for turn in event.turns if _overlaps(turn.start, turn.end, known)]
    seconds = len(sound) / RATE
    return Measured(
        _wrong(conversation, published, seconds),
        _wrong(conversation, result.segments, seconds),
        sum(turn.end - turn.start for turn in changed) / seconds,
        result.speakers or 0,
        [at - began - event.processed_seconds for at, event in finals],
    )


def _wrong(conversation: Conversation, segments: list[Segment], seconds: float) -> float:
    spoken = [(part.start, part.end, part.speaker) for part in segments if part.speaker is not None]
    errors = time_errors(conversation.said, spoken, seconds)
    return errors.under_another / errors.scored


def _overlaps(start: float, end: float, segments: list[Segment]) -> bool:
    return any(segment.start < end and start < segment.end for segment in segments)


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation.name)
async def test_speakers_are_known_while_people_speak(
    client: Client, conversation: Conversation, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = await played(client, conversation)
    with capsys.disabled():
        print(f"\n{conversation.name}: {measured}")
    assert measured.published <= MAX_PUBLISHED
    assert measured.result <= MAX_RESULT
    assert measured.speakers == conversation.speakers


@pytest.mark.parametrize("blow", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=RARE)])
async def test_a_lost_worker_costs_no_label(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], blow: signal.Signals
) -> None:
    async with (
        servers(tmp_path) as settings,
        running(settings, tmp_path / "a.log") as a,
        running(settings, tmp_path / "b.log") as b,
        Client(settings) as client,
    ):
        # When the worker of a conversation is killed or frozen in its middle
        measured = await played(client, CONVERSATIONS[0], (a, b), blow)
    with capsys.disabled():
        print(f"\n{CONVERSATIONS[0].name}, worker got {blow.name}: {measured}")
    # Then everybody has the same label before and after
    assert measured.published <= MAX_PUBLISHED
    assert measured.result <= MAX_RESULT
    assert measured.speakers == CONVERSATIONS[0].speakers
