"""Turns of real speech, while it is played to a real worker."""

import asyncio
import time
from itertools import pairwise

import numpy as np
import pytest
from natscribe.client import Client
from natscribe.schemas.live import TurnEvent, TurnState
from natscribe.schemas.transcription import SegmentsEvent

from tests.e2e.conftest import LIBRIVOX
from tests.playing import Seen, joined, play
from tests.truth.recordings import RATE

pytestmark = [pytest.mark.xdist_group("service"), pytest.mark.timeout(300)]

PAUSE_S = 1.0
SPEECH = joined(sorted(LIBRIVOX.glob("*.flac"))[:3], PAUSE_S)
MAX_LATE_S = 2.0  # at the median, on a machine that does other things, too


async def test_turns_are_told_while_people_speak(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    # Given three sentences with pauses
    seen = Seen()
    async with client.live(turns=True) as live:
        following, began = asyncio.create_task(seen.follow(live)), time.monotonic()
        await play(live, SPEECH)
        await following
        result = await live.result()
    turns = [(at - began, event) for at, event in seen.events if isinstance(event, TurnEvent)]
    # Then each turn starts while its first words are spoken
    late = [at - event.start for at, event in turns if event.state is TurnState.STARTED]
    assert len(late) >= 3
    assert np.median(late) < MAX_LATE_S
    # And after an eager end the turn is resumed, or ends with the same text
    for (_, before), (_, after) in pairwise(turns):
        if before.state is TurnState.EAGER_END:
            assert after.state in {TurnState.RESUMED, TurnState.ENDED}
            assert after.state is TurnState.RESUMED or after.text == before.text
    eager = [(at, event) for at, event in turns if event.state is TurnState.EAGER_END]
    assert eager
    # And the texts of the turns are those of the segments, which are stored before
    ended = [(at, event) for at, event in turns if event.state is TurnState.ENDED]
    assert " ".join(event.text for _, event in ended) == result.text
    texts = [at - began for at, event in seen.events if isinstance(event, SegmentsEvent) and event.segments]
    assert len(texts) == len(ended)
    with capsys.disabled():
        delays = (
            ("start", late),
            ("eager end", [at - e.end for at, e in eager]),
            ("end", [at - e.end for at, e in ended]),
        )
        print("\n" + ", ".join(f"{name} after {np.median(of):.2f} s" for name, of in delays), len(SPEECH) / RATE)
