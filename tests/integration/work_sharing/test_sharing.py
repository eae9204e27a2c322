"""One long recording on many workers: whoever transcribes a window, the result is the same."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from natscribe.schemas import subjects
from natscribe.schemas.progress import State
from natscribe.schemas.transcription import Segment, TranscribeOptions
from natscribe.schemas.windows import Window, WindowReply, WindowRequest, WindowText
from natscribe.schemas.wire import Kind

from app.engines.cores import Cores
from app.engines.messages import Loaded
from app.settings import Settings
from app.work_sharing import idle_workers, sharing
from app.work_sharing.sharing import engine_fingerprint, engine_of
from tests import document
from tests.fakes.engine import MODEL, SOUND, FakeEngine, segment
from tests.integration.conftest import Publisher, StartWorker
from tests.waiting import eventually

WINDOWS = 60  # more than the owner of a recording holds at once
TEXT = " ".join(["one two"] * WINDOWS)


class SlowEngine(FakeEngine):
    """Takes a moment over each window, and notes which ones it was asked for."""

    def __init__(self, seconds: float = 0.02) -> None:
        super().__init__(windows=WINDOWS)
        self.seconds = seconds
        self.transcribed: list[int] = []

    async def transcribes(self, number: int) -> None:
        self.transcribed.append(number)
        await asyncio.sleep(self.seconds)


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "CHECK_IDLE_EVERY_S", 0.02)
    monkeypatch.setattr(idle_workers, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(Cores, "free", lambda _self, _wanted: True)


async def workers(start_worker: StartWorker, engines: list[SlowEngine], stack: AsyncExitStack) -> None:
    for engine in engines:
        await stack.enter_async_context(start_worker(engine))


async def helper_is_asked(nc: Client, settings: Settings, engine: FakeEngine) -> None:
    """Wait until an idle worker has told the server that it may be asked: then it answers a request."""

    async def answered() -> bool:
        try:
            await nc.request(subjects.windows(engine_of(settings)), body_of(request(engine)), timeout=5)
        except NoRespondersError:
            return False
        return True

    await eventually(answered)


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
    # Then each of them transcribed a part, and all of it is in order
    assert all(engine.transcribed for engine in engines)
    transcribed = [number for engine in engines for number in engine.transcribed]
    assert sorted(set(transcribed)) == list(range(WINDOWS))
    # And few windows were transcribed twice: those that a helper still had when the owner had nothing else to do
    assert len(transcribed) <= WINDOWS + 2 * idle_workers.WINDOWS_PER_IDLE_WORKER
    assert [each["start"] for each in result["segments"]] == [number * 10 for number in range(WINDOWS)]
    assert result["text"] == TEXT
    # And the first window, from which it is known how long a window takes, was transcribed by its owner
    owner, _ = owner_and_helpers(engines)
    assert owner.transcribed[0] == 0


async def test_a_task_of_its_own_runs_at_once_on_a_worker_that_helps(
    publisher: Publisher, start_worker: StartWorker
) -> None:
    # Given a worker that helps another one
    engines = [SlowEngine(0.05) for _ in range(2)]
    async with AsyncExitStack() as stack:
        await workers(start_worker, engines, stack)
        await publisher.publish("long")
        await eventually(lambda: all(engine.transcribed for engine in engines))
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


def request(engine: FakeEngine, number: int = 0, **changes: object) -> WindowRequest:
    """What an owner with this engine asks for one of its windows."""
    window = Window(regions=[(number * 10.0, number * 10.0 + 10)], samples=SOUND)
    asked = WindowRequest(
        window=window,
        model=engine.loaded.model if engine.loaded else MODEL,
        fingerprint=engine_fingerprint(engine.loaded or Loaded(model=MODEL)),
    )
    return asked.model_copy(update=changes)


def body_of(asked: WindowRequest) -> bytes:
    return asked.model_dump_json().encode()


Answer = WindowText | bytes | None  # bytes: the whole body; null: no reply at all


class Stranger:
    """Receives windows like an idle worker, and answers as a test wants."""

    def __init__(self, nc: Client, settings: Settings, answer: Callable[[WindowRequest], Answer]) -> None:
        self._nc = nc
        self._subject = subjects.windows(engine_of(settings))
        self._answer = answer
        self._token = uuid4().hex
        self.asked = 0

    async def start(self) -> None:
        await self._nc.subscribe(self._subject, queue="natscribe", cb=self._receive)
        await self._nc.flush()

    async def _receive(self, message: Msg) -> None:
        self.asked += 1
        answer = self._answer(WindowRequest.model_validate_json(message.data))
        if isinstance(answer, WindowText):
            answer = WindowReply(worker=self._token, text=answer).model_dump_json().encode()
        if answer is not None:
            await message.respond(answer)


def number_of(asked: WindowRequest) -> int:
    return round(asked.window.regions[0][0] / 10)


def text(asked: WindowRequest, said: Segment) -> WindowText:
    return WindowText(segments=[said], language="en", end=asked.window.end)


def hacked(asked: WindowRequest) -> WindowText:
    return text(asked, segment(number_of(asked), "hacked"))


LIES: dict[str, Callable[[WindowRequest], Answer]] = {
    "another place": lambda asked: text(asked, segment(WINDOWS)),
    "garbage": lambda _: b"\xff{no json",
    "an error": lambda _: b'{"error": {"code": "internal", "message": "no"}}',
    "nothing": lambda _: None,
}


@pytest.mark.parametrize("lie", LIES)
async def test_an_answer_that_cannot_be_true_is_rejected(
    publisher: Publisher, start_worker: StartWorker, nc: Client, settings: Settings, lie: str
) -> None:
    # Given a stranger who takes windows, and answers something that cannot be, or nothing
    stranger = Stranger(nc, settings, LIES[lie])
    engine = SlowEngine()
    async with start_worker(engine):
        await stranger.start()
        # When a long recording in English is transcribed with word times
        await publisher.publish("t1", word_timestamps=True, language="en")
        result = await result_of(publisher, "t1")
    # Then they were asked, and their windows were transcribed by the owner
    assert stranger.asked
    assert result["text"] == TEXT
    assert sorted(engine.transcribed) == list(range(WINDOWS))


async def test_a_true_answer_is_taken(
    publisher: Publisher, start_worker: StartWorker, nc: Client, settings: Settings
) -> None:
    # Given a stranger who answers as a worker would
    stranger = Stranger(nc, settings, hacked)
    engine = SlowEngine()
    async with start_worker(engine):
        await stranger.start()
        # When a long recording is transcribed with word times
        await publisher.publish("t1", word_timestamps=True)
        result = await result_of(publisher, "t1")
    # Then it is in the text: so the lies above would have been
    assert "hacked" in str(result["text"])
    assert len(engine.transcribed) < WINDOWS


async def test_a_window_is_transcribed_as_its_owner_would(
    start_worker: StartWorker, nc: Client, settings: Settings
) -> None:
    # Given an idle worker
    engine = SlowEngine()
    async with start_worker(engine):
        await helper_is_asked(nc, settings, engine)
        # When another one asks for a window
        asked = body_of(request(engine, 3, options=TranscribeOptions(vocabulary=("Natscribe",))))
        reply = await nc.request(subjects.windows(engine_of(settings)), asked, timeout=10)
    # Then it gets the text of that window, transcribed with its options
    found = WindowReply.model_validate_json(reply.data).text
    assert found is not None
    assert (found.segments, found.end) == ([segment(3)], 40)
    assert engine.options[-1].vocabulary == ("Natscribe",)
    # And the reply is what the document says
    operation = document.DOCUMENT["operations"]["transcribeWindow"]
    described = document.names(operation["reply"]["messages"])
    assert set(document.matching(described, reply.headers or {}, reply.data)) == {"WindowReply"}


def no_windows(asked: dict[str, Any]) -> list[dict[str, Any]]:
    window = asked["window"]
    short = b64encode(bytes(319_990)).decode()
    return [
        {},
        asked | {"window": window | {"samples": ""}},
        asked | {"window": window | {"samples": short}},
        asked
        | {"window": window | {"regions": [[0.0, 100.0]], "samples": b64encode(bytes(3_200_000)).decode()[:900_000]}},
        asked | {"window": window | {"regions": [[0.0, 0.0]], "samples": ""}},
        asked | {"previous": "no language"},
        asked | {"extra": 1},
    ]


async def test_what_a_helper_is_sent_must_be_a_window(
    publisher: Publisher, start_worker: StartWorker, nc: Client, settings: Settings
) -> None:
    # Given an idle worker
    engine, subject = SlowEngine(), subjects.windows(engine_of(settings))
    async with start_worker(engine):
        await helper_is_asked(nc, settings, engine)
        before = len(engine.transcribed)
        # When it is sent what is no window
        bodies = [b"\xff no json", *(json.dumps(each).encode() for each in no_windows(request(engine).model_dump()))]
        replies = [await nc.request(subject, body, timeout=10) for body in bodies]
        # Then it refuses each, transcribes nothing, and works on
        assert [set(json.loads(reply.data)) for reply in replies] == [{"error"}] * len(bodies)
        assert len(engine.transcribed) == before
        await publisher.publish("t1")
        await result_of(publisher, "t1")


async def test_a_worker_that_ends_gives_back_what_it_was_sent(
    start_worker: StartWorker, nc: Client, settings: Settings
) -> None:
    # Given a worker that transcribes a window of another
    engine = SlowEngine()
    async with start_worker(engine):
        await helper_is_asked(nc, settings, engine)
        engine.seconds, before = 60, len(engine.transcribed)
        asking = asyncio.create_task(
            nc.request(subjects.windows(engine_of(settings)), body_of(request(engine)), timeout=30)
        )
        await eventually(lambda: len(engine.transcribed) > before)
        # When it ends
    # Then the owner has it back
    async with asyncio.timeout(5):
        reply = await asking
    assert WindowReply.model_validate_json(reply.data).text is None
