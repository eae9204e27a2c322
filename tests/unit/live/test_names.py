"""Names of live speakers: when they are compared, and what is reported."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest
from nats.errors import TimeoutError as NatsTimeoutError
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.voices import SpeakerVoice
from natscribe.schemas.wire import Model

from app.engines.messages import LiveDiarization, RecordingEmbeddings, SpeakerEmbedding
from app.runtime.errors import TransientError
from app.speech.live.names import MIN_SPEECH_S, LiveNames
from app.speech.live.source import LiveSource
from app.speech.voices.identification import NOBODY, Identification, IdentificationOutcome
from tests.fakes.engine import live_diarization
from tests.waiting import eventually

ANN, BOB = "SPEAKER_00", "SPEAKER_01"


def voice(number: int) -> SpeakerVoice:
    return SpeakerVoice(voice=f"{number:032x}", name=None, score=0.7)


@dataclass
class Voices:
    """The voices of a user: which label is compared to be whose, and which labels were compared."""

    voices: dict[str, SpeakerVoice] = field(default_factory=dict)
    fails: bool = False
    compared: list[Sequence[str]] = field(default_factory=list)

    async def compare(self, _: int, __: RecordingEmbeddings, labels: Sequence[str]) -> IdentificationOutcome:
        self.compared.append(labels)
        if self.fails:
            raise NatsTimeoutError
        return IdentificationOutcome({label: self.voices.get(label, NOBODY) for label in labels})


def found(seconds: Mapping[str, float], agreement: float = 1) -> LiveDiarization:
    speakers = [
        SpeakerEmbedding(speaker=label, seconds=length, agreement=agreement, values="", telephone="")
        for label, length in seconds.items()
    ]
    embedded = RecordingEmbeddings(model=Model(name="campplus", revision="1"), speakers=speakers)
    return live_diarization(embedded=embedded)


@dataclass
class Named:
    """What was reported, and what names the speakers of a task."""

    voices: Voices = field(default_factory=Voices)
    source: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(speakers=None, ended=True))
    reports: list[Mapping[str, SpeakerVoice]] = field(default_factory=list)
    report_fails: bool = False
    attempts: int = 0  # to report

    def __post_init__(self) -> None:
        source, voices = cast("LiveSource", self.source), cast("Identification", self.voices)
        self.names = LiveNames(7, source, voices, self._report, {})

    async def _report(self, voices: Mapping[str, SpeakerVoice]) -> None:
        self.attempts += 1
        if self.report_fails:
            raise TransientError(ErrorCode.INTERNAL, "JetStream does not reply.")
        self.reports.append(voices)

    async def after(self, seconds: Mapping[str, float]) -> list[Mapping[str, SpeakerVoice]]:
        """What is reported after an utterance, when speakers have spoken this long."""
        return await self.in_channels({None: found(seconds)})

    async def in_channels(self, speakers: dict[int | None, LiveDiarization]) -> list[Mapping[str, SpeakerVoice]]:
        """What is reported when these speakers are known, by channel."""
        self.source.speakers, before = speakers, len(self.reports)
        await self.names.run()
        return self.reports[before:]


@pytest.fixture
def named() -> Named:
    return Named()


async def test_a_speaker_is_named_once_it_is_certain(named: Named) -> None:
    named.voices.voices = {ANN: voice(1)}
    # When one has spoken long enough, and another one has not, then the first is named, once
    assert await named.after({ANN: MIN_SPEECH_S, BOB: 1}) == [{ANN: voice(1)}]
    assert await named.after({ANN: 20, BOB: 2}) == []
    assert named.voices.compared == [[ANN], [ANN]]
    # And a stranger is not reported at all
    assert await named.after({ANN: 20, BOB: 20}) == []


@pytest.mark.parametrize(("agreement", "compared"), [(0.65, [[ANN]]), (0.64, [[]])])
async def test_a_label_of_two_people_is_not_named(named: Named, agreement: float, compared: list[list[str]]) -> None:
    await named.in_channels({None: found({ANN: 20}, agreement)})
    assert named.voices.compared == compared


async def test_the_speakers_of_separate_channels_are_compared_together(named: Named) -> None:
    named.voices.voices = {ANN: voice(1), BOB: voice(2)}
    assert await named.in_channels({0: found({ANN: 9}), 1: found({BOB: 9})}) == [{ANN: voice(1), BOB: voice(2)}]
    assert named.voices.compared == [[ANN, BOB]]


async def test_whoever_is_forgotten_or_somebody_else_is_reported(named: Named) -> None:
    named.voices.voices = {ANN: voice(1)}
    await named.after({ANN: 10})
    # When another voice turns out to be more similar, and then all are forgotten, then each is an event
    named.voices.voices = {ANN: voice(2)}
    assert await named.after({ANN: 20}) == [{ANN: voice(2)}]
    named.voices.voices = {}
    assert await named.after({ANN: 30}) == [{ANN: NOBODY}]


async def test_the_next_worker_does_not_repeat_a_name(named: Named) -> None:
    named.names.published[ANN] = voice(1)
    named.voices.voices = {ANN: voice(1), BOB: voice(2)}
    assert await named.after({ANN: 10, BOB: 10}) == [{BOB: voice(2)}]


async def test_an_outage_delays_names(named: Named) -> None:
    named.voices.voices, named.voices.fails = {ANN: voice(1)}, True
    assert await named.after({ANN: 10}) == []
    named.voices.fails = False
    assert await named.after({ANN: 10}) == [{ANN: voice(1)}]


async def test_a_report_that_was_not_stored_is_repeated_with_the_next_news(named: Named) -> None:
    # Given a report that is not stored, while the task runs
    named.voices.voices, named.report_fails, named.source.ended = {ANN: voice(1)}, True, False
    named.source.speakers = {None: found({ANN: 10})}
    running = asyncio.create_task(named.names.run())
    await eventually(lambda: named.attempts == 1)
    # When there is news
    named.report_fails, named.source.speakers = False, {None: found({ANN: 20})}
    await eventually(lambda: bool(named.reports))
    # Then the name is reported
    assert named.reports == [{ANN: voice(1)}]
    named.source.ended = True
    await running
