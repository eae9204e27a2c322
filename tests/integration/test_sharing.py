"""One long recording on many workers: whoever transcribes a window, the result is the same."""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from natscribe.schemas import subjects
from natscribe.schemas.progress import State
from natscribe.schemas.sharing import WindowsOffered
from natscribe.schemas.transcription import Segment, Stretch, TranscribeOptions
from natscribe.schemas.wire import Kind, Model

from app.engines.cores import Cores
from app.engines.messages import Loaded, WindowsTranscribed, WindowTranscribed
from app.settings import Settings, Share
from app.work_sharing.helper import Alive, Handed, Line, Returned, Volunteered, decode, encode, way_of
from tests.fakes.engine import MODEL, FakeEngine, segment
from tests.integration.conftest import Publisher, StartWorker
from tests.waiting import eventually

WINDOWS = 24
PIECES = [(0.0, 4.0), (5.0, 11.0)]  # of a window: 10 s
TEXT = " ".join(["one two"] * WINDOWS)


class SlowEngine(FakeEngine):
    """Takes a moment over each window, and notes which ones it was asked for."""

    def __init__(self, seconds: float = 0.05) -> None:
        super().__init__(windows=WINDOWS)
        self.seconds = seconds
        self.transcribed: list[int] = []

    async def transcribes(self, number: int) -> None:
        self.transcribed.append(number)
        await asyncio.sleep(self.seconds)


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.work_sharing.coordinator.FIRST_PAUSE_S", 0.2)
    monkeypatch.setattr("app.work_sharing.coordinator.SILENT_FOR_S", 3.0)
    monkeypatch.setattr("app.work_sharing.helper.LOOKS_FOR_S", 0.01)
    monkeypatch.setattr("app.work_sharing.helper.ALIVE_EVERY_S", 0.2)
    monkeypatch.setattr(Cores, "free", lambda _self, _wanted: True)


async def workers(start_worker: StartWorker, engines: list[SlowEngine], stack: AsyncExitStack) -> None:
    for engine in engines:
        await stack.enter_async_context(start_worker(engine))


async def result_of(publisher: Publisher, task_id: str) -> dict[str, Any]:
    await publisher.until(task_id, State.COMPLETED)
    return await publisher.ask("tasks.result", task_id=task_id)


def owner_and_helpers(engines: list[SlowEngine]) -> tuple[SlowEngine, list[SlowEngine]]:
    (owner,) = [engine for engine in engines if engine.jobs]
    return owner, [engine for engine in engines if engine is not owner]


async def test_idle_workers_transcribe_windows_of_one_recording(
    publisher: Publisher, start_worker: StartWorker
) -> None:
    # Given three idle workers
    engines = [SlowEngine() for _ in range(3)]
    async with AsyncExitStack() as stack:
        await workers(start_worker, engines, stack)
        # When a long recording is transcribed
        await publisher.publish("t1")
        result = await result_of(publisher, "t1")
    # Then each of them transcribed a part, no window was transcribed twice, and all of it is in order
    assert all(engine.transcribed for engine in engines)
    assert sorted(number for engine in engines for number in engine.transcribed) == list(range(WINDOWS))
    assert [each["start"] for each in result["segments"]] == [number * 10 for number in range(WINDOWS)]
    assert result["text"] == TEXT
    # And the first window, from which it is known how long a window takes, was transcribed by its owner
    owner, _ = owner_and_helpers(engines)
    assert owner.transcribed[0] == 0


@pytest.mark.parametrize("reason", ["never", "no core is free", "another model", "another way to compute"])
async def test_nobody_helps_where_that_does_not_pay(
    publisher: Publisher, start_worker: StartWorker, settings: Settings, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    # Given two workers that do not share, find no core free, or have different models
    settings.share_windows = Share.NEVER if reason == "never" else Share.AUTO
    if reason == "no core is free":
        monkeypatch.setattr(Cores, "free", lambda _self, _wanted: False)
    engines = [SlowEngine(0.01) for _ in range(2)]
    if reason == "another model":
        engines[1].loaded = Loaded(model=Model(name="fake", revision="1"))
    if reason == "another way to compute":
        engines[1].loaded = Loaded(model=MODEL, how="cpu int8 beam 1")
    async with AsyncExitStack() as stack:
        await workers(start_worker, engines, stack)
        # When a long recording is transcribed, then its owner transcribes all of it
        await publisher.publish("t1")
        assert (await result_of(publisher, "t1"))["text"] == TEXT
    owner, (other,) = owner_and_helpers(engines)
    assert len(owner.transcribed) == WINDOWS
    assert other.transcribed == []


async def test_a_task_of_its_own_runs_at_once_on_a_worker_that_helps(
    publisher: Publisher, start_worker: StartWorker
) -> None:
    # Given a worker that helps another one
    engines = [SlowEngine(0.15) for _ in range(2)]
    async with AsyncExitStack() as stack:
        await workers(start_worker, engines, stack)
        await publisher.publish("long")

        async def helps() -> bool:
            return all(engine.transcribed for engine in engines)

        await eventually(helps)
        # When a task is published
        await publisher.publish("next")
        # Then it runs while the other one goes on
        await publisher.until("next", State.RUNNING)
        assert (await publisher.ask("tasks.status", task_id="long"))["state"] == State.RUNNING
        await publisher.until("next", State.COMPLETED)
        assert (await result_of(publisher, "long"))["text"] == TEXT
    assert all(len(engine.jobs) == 1 for engine in engines)


async def test_a_worker_that_looks_for_speakers_helps_nobody(publisher: Publisher, start_worker: StartWorker) -> None:
    # Given two workers, of which one diarizes
    engines = [SlowEngine() for _ in range(2)]
    for engine in engines:
        engine.may_go_on.clear()
    async with AsyncExitStack() as stack:
        await workers(start_worker, engines, stack)
        await publisher.publish("who", kind=Kind.DIARIZATION)

        async def diarizes() -> list[SlowEngine]:
            return [engine for engine in engines if engine.jobs]

        (diarizing,) = await eventually(diarizes)
        (other,) = [engine for engine in engines if engine is not diarizing]
        # When the other one transcribes a long recording, then it transcribes all of it
        other.may_go_on.set()
        await publisher.publish("long")
        assert (await result_of(publisher, "long"))["text"] == TEXT
        diarizing.may_go_on.set()
        await publisher.until("who", State.COMPLETED)
    assert len(other.transcribed) == WINDOWS
    assert diarizing.transcribed == []


class Stranger:
    """Volunteers like a worker, and answers as a test wants."""

    def __init__(self, nc: Client, answer: Callable[[list[Handed]], Line | bytes | None]) -> None:
        self._nc = nc
        self._answer = answer
        self._token = uuid4().hex
        self._handed: dict[str, list[Handed]] = {}
        self.batches = 0

    async def start(self) -> None:
        self._offers = await self._nc.subscribe(subjects.WINDOWS_OFFERED, cb=self._offered)
        await self._nc.subscribe(subjects.windows_inbox(self._token), cb=self._receive)
        await self._nc.flush()

    async def end(self) -> None:
        await self._offers.unsubscribe()
        await self._nc.flush()

    async def _offered(self, message: Msg) -> None:
        offer = WindowsOffered.model_validate_json(message.data)
        await self._send(offer.owner, Volunteered(run=offer.run, helper=self._token))

    async def _receive(self, message: Msg) -> None:
        line, sound = decode(message.data)
        assert isinstance(line, Handed)
        assert line.fits(sound)
        batch = self._handed.setdefault(line.batch, [])
        batch.append(line)
        if len(batch) == line.of:
            self.batches += 1
            answer = self._answer(batch)
            if answer is not None:
                await self._send(line.owner, answer)

    async def _send(self, owner: str, line: Line | bytes) -> None:
        body = line if isinstance(line, bytes) else encode(line)
        await self._nc.publish(subjects.windows_inbox(owner), body)


def number_of(handed: Handed) -> int:
    return round(handed.pieces[0][0] / 10)


def found_in(*segments: Segment, missing: Sequence[Stretch] = ()) -> WindowTranscribed:
    return WindowTranscribed(segments=list(segments), untranscribed=list(missing))


def returned(batch: list[Handed], **changes: object) -> Returned:
    found = [found_in(segment(number_of(handed), "hacked")) for handed in batch]
    answer = {"language": "en", "found": found, "seconds": 0.1, "model": MODEL} | changes
    return Returned(batch=batch[0].batch, found=WindowsTranscribed.model_validate(answer), more=True)


LIES: dict[str, Callable[[list[Handed]], Line | bytes | None]] = {
    "too few windows": lambda batch: returned(batch, found=[]),
    "too many windows": lambda batch: returned(batch, found=[found_in()] * (len(batch) + 1)),
    "another place": lambda batch: returned(batch, found=[found_in(segment(WINDOWS)) for _ in batch]),
    "another model": lambda batch: returned(batch, model=Model(name="fake", revision="1")),
    "silence in another place": lambda batch: returned(
        batch, found=[found_in(missing=[Stretch(start=WINDOWS * 10, end=WINDOWS * 10 + 5)]) for _ in batch]
    ),
    "another language": lambda batch: returned(
        batch, found=[found_in(segment(number_of(handed)).model_copy(update={"language": "de"})) for handed in batch]
    ),
    "far too much": lambda batch: returned(batch, found=[found_in(segment(number_of(b), "x" * 9000)) for b in batch]),
    "no words": lambda batch: returned(
        batch, found=[found_in(segment(number_of(handed)).model_copy(update={"words": None})) for handed in batch]
    ),
    "garbage": lambda _: b"\xff{no json",
    "nothing": lambda _: None,
    "another batch": lambda batch: returned(batch).model_copy(update={"batch": uuid4().hex}),
    "no": lambda batch: Returned(batch=batch[0].batch, found=None, more=False),
}


@pytest.mark.parametrize("lie", LIES)
async def test_an_answer_that_cannot_be_true_is_rejected(
    publisher: Publisher, start_worker: StartWorker, nc: Client, lie: str
) -> None:
    # Given a stranger who volunteers, and answers something that cannot be, or nothing
    stranger = Stranger(nc, LIES[lie])
    engine = SlowEngine()
    async with start_worker(engine):
        await stranger.start()
        # When a long recording in English is transcribed with word times
        await publisher.publish("t1", word_timestamps=True, language="en")
        result = await result_of(publisher, "t1")
    # Then they were asked, and their windows were transcribed by the owner
    assert stranger.batches
    assert result["text"] == TEXT
    assert sorted(engine.transcribed) == list(range(WINDOWS))


async def test_a_true_answer_is_taken(publisher: Publisher, start_worker: StartWorker, nc: Client) -> None:
    # Given a stranger who answers as a worker would
    stranger = Stranger(nc, returned)
    engine = SlowEngine()
    async with start_worker(engine):
        await stranger.start()
        # When a long recording is transcribed with word times
        await publisher.publish("t1", word_timestamps=True)
        result = await result_of(publisher, "t1")
    # Then it is in the text: so the lies above would have been
    assert "hacked" in str(result["text"])
    assert len(engine.transcribed) < WINDOWS


async def test_what_a_helper_has_found_is_not_cached(
    publisher: Publisher, start_worker: StartWorker, nc: Client, settings: Settings
) -> None:
    # Given a recording of which a stranger has transcribed a part
    settings.cache_ttl = 60
    stranger = Stranger(nc, returned)
    engine = SlowEngine()
    async with start_worker(engine):
        await stranger.start()
        await publisher.publish("t1")
        assert "hacked" in str((await result_of(publisher, "t1"))["text"])
        # When another task asks the same after the stranger has gone
        await stranger.end()
        await publisher.publish("t2")
        result = await result_of(publisher, "t2")
    # Then nothing of the stranger is in its result
    assert result["text"] == TEXT
    assert not result["cached"]


@pytest.mark.parametrize("limit", ["SHORTEST_BATCH_S", "LONGEST_BATCH_S"])
async def test_a_helper_that_only_reports_that_it_lives_is_given_up(
    publisher: Publisher, start_worker: StartWorker, nc: Client, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    # Given a stranger who reports again and again that the batch is being transcribed
    monkeypatch.setattr(f"app.work_sharing.coordinator.{limit}", 1.5)
    alive: list[asyncio.Task[None]] = []
    stranger = Stranger(nc, lambda batch: alive.append(asyncio.create_task(go_on(batch[0]))))

    async def go_on(handed: Handed) -> None:
        for _ in range(100):
            await nc.publish(subjects.windows_inbox(handed.owner), encode(Alive(batch=handed.batch)))
            await asyncio.sleep(0.1)

    async with start_worker(SlowEngine()):
        await stranger.start()
        # When a long recording is transcribed, then it comes to its end without them
        await publisher.publish("t1")
        assert (await result_of(publisher, "t1"))["text"] == TEXT
    for task in alive:
        task.cancel()
    # And they are asked no more
    assert stranger.batches == 1


async def test_what_a_helper_is_sent_must_be_a_window(
    publisher: Publisher, start_worker: StartWorker, nc: Client
) -> None:
    # Given a worker, and a stranger who offers it windows
    answers: list[Returned | Alive | Volunteered] = []
    owner, run = uuid4().hex, uuid4().hex

    async def receive(message: Msg) -> None:
        line, _ = decode(message.data)
        assert isinstance(line, Returned | Alive | Volunteered)
        answers.append(line)

    engine = SlowEngine()
    async with start_worker(engine):
        await nc.subscribe(subjects.windows_inbox(owner), cb=receive)
        offer = WindowsOffered(run=run, owner=owner, model=MODEL, how=way_of(engine))
        await nc.publish(subjects.WINDOWS_OFFERED, offer.model_dump_json().encode())

        async def came() -> list[str]:
            return [line.helper for line in answers if isinstance(line, Volunteered)]

        (helper,) = await eventually(came)
        # When it is sent sound that is no window, or windows of another run
        handed = Handed(
            run=run,
            owner=owner,
            batch=uuid4().hex,
            number=0,
            of=1,
            pieces=PIECES,
            options=TranscribeOptions(),
            previous=None,
        )
        wrong = [
            (handed, b""),
            (handed, bytes(319_998)),
            (handed.model_copy(update={"pieces": [(0.0, 100.0)]}), bytes(3_200_000)),
            (handed.model_copy(update={"pieces": [(0.0, 0.0)]}), b""),
            (handed.model_copy(update={"run": uuid4().hex}), bytes(320_000)),
        ]
        for line, sound in wrong[:2] + wrong[3:]:
            await nc.publish(subjects.windows_inbox(helper), encode(line, sound))
        await nc.publish(subjects.windows_inbox(helper), b"no line at all")

        async def refused() -> bool:
            return sum(isinstance(line, Returned) and line.found is None for line in answers) == 4

        # Then it returns each without text, transcribes nothing, and works on
        await eventually(refused)
        assert engine.transcribed == []
        await publisher.publish("t1")
        await result_of(publisher, "t1")


async def test_a_worker_that_ends_returns_what_it_was_handed(
    publisher: Publisher, start_worker: StartWorker, nc: Client
) -> None:
    # Given a worker that transcribes a window of another
    owner, run, batch = uuid4().hex, uuid4().hex, uuid4().hex
    answers: list[Line] = []

    async def receive(message: Msg) -> None:
        answers.append(decode(message.data)[0])

    async def volunteered() -> list[str]:
        return [line.helper for line in answers if isinstance(line, Volunteered)]

    async def was_returned() -> bool:
        return Returned(batch=batch, found=None, more=False) in answers

    engine = SlowEngine(60)
    await nc.subscribe(subjects.windows_inbox(owner), cb=receive)
    async with start_worker(engine):
        offer = WindowsOffered(run=run, owner=owner, model=MODEL, how=way_of(engine))
        await nc.publish(subjects.WINDOWS_OFFERED, offer.model_dump_json().encode())
        (helper,) = await eventually(volunteered)
        handed = Handed(
            run=run, owner=owner, batch=batch, number=0, of=1, pieces=PIECES, options=TranscribeOptions(), previous=None
        )
        await nc.publish(subjects.windows_inbox(helper), encode(handed, bytes(320_000)))

        async def transcribed() -> list[int]:
            return engine.transcribed

        await eventually(transcribed)
        # When it ends
    # Then the owner has it back
    await eventually(was_returned, within=5)


async def test_a_garbled_offer_changes_nothing(publisher: Publisher, start_worker: StartWorker, nc: Client) -> None:
    # Given a worker, when offers come that are none
    async with start_worker(SlowEngine(0)):
        for body in (b"", b"{}", b"\xff", json.dumps({"run": "x", "owner": "> *"}).encode()):
            await nc.publish(subjects.WINDOWS_OFFERED, body)
        # Then tasks are done as ever
        await publisher.publish("t1")
        assert (await result_of(publisher, "t1"))["text"] == TEXT
