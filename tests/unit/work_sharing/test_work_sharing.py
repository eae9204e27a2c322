"""When an idle worker transcribes windows of other workers, and what it replies."""

import asyncio
from base64 import b64encode
from typing import cast

import pytest
from faststream.nats.subscriber.usecases import LogicSubscriber
from nats.aio.msg import Msg
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.transcription import TranscribeOptions
from natscribe.schemas.wire import Model
from pydantic import ValidationError
from structlog.testing import capture_logs

from app.engines.cores import Cores
from app.engines.messages import Loaded
from app.engines.window_queue import WindowQueue
from app.engines.windows import Window, WindowRequest
from app.runtime.errors import TransientError
from app.settings import Settings, Share
from app.speech.window_sharing.sharing import MIN_MAX_PAYLOAD_BYTES, WorkSharing, engine_fingerprint, engine_hash
from tests.constants import Constants
from tests.fakes.engine import MODEL, SAMPLES, FakeEngine
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import Parts, provisioned
from tests.publishers import publishers

LOADED = Loaded(model=MODEL)


class SlowEngine(FakeEngine):
    """Transcribes a window when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_transcribe = asyncio.Event()
        self.may_transcribe.set()
        self.has_started = asyncio.Event()
        self.error: TransientError | None = None

    async def transcribes(self, number: int) -> None:
        del number
        self.has_started.set()
        await self.may_transcribe.wait()
        if self.error is not None:
            raise self.error


class Subscriber:
    """The subscription for the windows of other workers, which FastStream has started."""

    def __init__(self) -> None:
        self.running = True

    async def start(self) -> None:
        assert not self.running, "started twice it would lose messages"
        self.running = True

    async def stop(self) -> None:
        self.running = False


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch, constants: Constants) -> list[bool]:
    """Whether a core is free; without a pause between two checks."""
    constants(CHECK_IDLE_EVERY_S=0)
    free = [True]
    monkeypatch.setattr(Cores, "free", lambda _self, _wanted: free[0])
    return free


@pytest.fixture
def engine() -> SlowEngine:
    return SlowEngine()


@pytest.fixture
def subscriber() -> Subscriber:
    return Subscriber()


def sharing_of(engine: FakeEngine, subscriber: Subscriber, share: Share = Share.AUTO) -> WorkSharing:
    return WorkSharing(
        publishers(InMemoryNats().client).windows,
        engine,
        WindowQueue(engine, at_once=1, largest=1),
        cast("LogicSubscriber[Msg]", subscriber),
        Settings(_env_file=None, share_windows=share),
    )


@pytest.fixture
def sharing(engine: SlowEngine, subscriber: Subscriber) -> WorkSharing:
    return sharing_of(engine, subscriber)


def request(number: int = 0, loaded: Loaded = LOADED) -> WindowRequest:
    window = Window(regions=[(10.0 * number, 10.0 * number + 10)], samples=SAMPLES)
    return WindowRequest(window=window, model=loaded.model, fingerprint=engine_fingerprint(loaded))


async def is_subscribed(sharing: WorkSharing, subscriber: Subscriber) -> bool:
    """Whether the worker is subscribed to windows of other workers after its next check."""
    await sharing.update_subscription()
    return subscriber.running


async def test_a_worker_is_subscribed_while_it_is_idle(sharing: WorkSharing, subscriber: Subscriber) -> None:
    assert await is_subscribed(sharing, subscriber)
    # When two tasks of the worker run, then it is not subscribed until both have ended
    async with sharing.pause_sharing():
        async with sharing.pause_sharing():
            assert not await is_subscribed(sharing, subscriber)
        assert not await is_subscribed(sharing, subscriber)
    assert await is_subscribed(sharing, subscriber)
    # When the worker stops, then it is never subscribed again
    async with sharing.pause_sharing():
        sharing.stop_sharing()
    assert not await is_subscribed(sharing, subscriber)
    assert (await sharing.transcribe_window(request())).text is None
    async with sharing.pause_sharing():
        assert not await is_subscribed(sharing, subscriber)


async def test_a_worker_is_subscribed_while_its_model_is_loaded_and_a_core_is_free(
    sharing: WorkSharing, subscriber: Subscriber, engine: SlowEngine, cores: list[bool]
) -> None:
    loaded, engine.loaded = engine.loaded, None
    assert not await is_subscribed(sharing, subscriber)
    engine.loaded, cores[0] = loaded, False
    assert not await is_subscribed(sharing, subscriber)
    cores[0] = True
    assert await is_subscribed(sharing, subscriber)


async def test_share_windows_always_needs_no_free_core(
    engine: SlowEngine, subscriber: Subscriber, cores: list[bool]
) -> None:
    cores[0] = False
    assert await is_subscribed(sharing_of(engine, subscriber, Share.ALWAYS), subscriber)


async def test_work_sharing_is_off_by_setting(engine: SlowEngine, subscriber: Subscriber) -> None:
    sharing = sharing_of(engine, subscriber, Share.NEVER)
    assert not await is_subscribed(sharing, subscriber)
    assert (await sharing.transcribe_window(request())).text is None
    assert sharing.idle_workers(LOADED) is None


async def test_work_sharing_is_off_with_a_small_max_payload() -> None:
    nats = await provisioned()
    for max_payload, sends in ((MIN_MAX_PAYLOAD_BYTES, True), (MIN_MAX_PAYLOAD_BYTES - 1, False)):
        nats.max_payload = max_payload
        sharing = Parts(nats).sharing
        assert (sharing.idle_workers(LOADED) is not None) is sends


async def test_faststream_starts_the_subscription_first(sharing: WorkSharing, subscriber: Subscriber) -> None:
    subscriber.running = False
    assert not await is_subscribed(sharing, subscriber)


async def test_a_task_of_the_worker_ends_the_pause_before_a_check(
    sharing: WorkSharing, subscriber: Subscriber, constants: Constants
) -> None:
    constants(CHECK_IDLE_EVERY_S=600)
    checking = asyncio.create_task(sharing.update_subscription())
    await asyncio.sleep(0)  # the check has started
    async with sharing.pause_sharing(), asyncio.timeout(5):
        await checking
    assert not subscriber.running


async def test_a_window_of_another_worker_is_transcribed_with_its_options(
    sharing: WorkSharing, engine: SlowEngine
) -> None:
    assert sharing.idle_workers(LOADED) is not None
    options = TranscribeOptions(vocabulary=("Natscribe",))
    with capture_logs() as lines:
        reply = await sharing.transcribe_window(request(1).model_copy(update={"options": options}))
    assert engine.options == [options]
    assert [line["event"] for line in lines] == ["shared_window_started"]
    assert reply.text is not None
    assert [segment.start for segment in reply.text.segments] == [10]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"window": {"regions": [[0.0, 10.0]], "samples": ""}}, id="no audio"),
        pytest.param({"window": {"regions": [[0.0, 10.0]], "samples": b64encode(bytes(319_990)).decode()}}, id="short"),
        pytest.param(
            {"window": {"regions": [[0.0, 100.0]], "samples": b64encode(bytes(675_000)).decode()}}, id="a long window"
        ),
        pytest.param({"window": {"regions": [[0.0, 0.0]], "samples": ""}}, id="an empty window"),
        pytest.param({"previous": "no language"}, id="no language"),
        pytest.param({"extra": 1}, id="an unknown field"),
    ],
)
def test_a_request_without_a_valid_window_is_refused(changes: dict[str, object]) -> None:
    body = request().model_dump()
    WindowRequest.model_validate(body)
    with pytest.raises(ValidationError):
        WindowRequest.model_validate(body | changes)


@pytest.mark.parametrize(
    "loaded",
    [None, Loaded(model=Model(name="fake", revision="1")), Loaded(model=MODEL, fingerprint="cpu int8 beam 1")],
    ids=["no model", "another model", "another fingerprint"],
)
async def test_a_worker_with_another_engine_returns_no_text(
    sharing: WorkSharing, engine: SlowEngine, loaded: Loaded | None
) -> None:
    engine.loaded = loaded
    assert (await sharing.transcribe_window(request())).text is None
    assert not engine.has_started.is_set()


async def test_a_window_is_returned_when_a_task_of_the_worker_starts(
    sharing: WorkSharing, engine: SlowEngine, subscriber: Subscriber
) -> None:
    # Given a worker that transcribes a window for another one
    engine.may_transcribe.clear()
    sharing_window = asyncio.create_task(sharing.transcribe_window(request()))
    await engine.has_started.wait()
    async with sharing.pause_sharing(), asyncio.timeout(5):
        # When it gets a task, then it unsubscribes once the window is returned
        assert await is_subscribed(sharing, subscriber)
        assert (await sharing_window).text is None
        assert not await is_subscribed(sharing, subscriber)
        # And accepts no other window
        assert (await sharing.transcribe_window(request())).text is None


async def test_a_failed_window_is_returned_without_text(sharing: WorkSharing, engine: SlowEngine) -> None:
    engine.error = TransientError(ErrorCode.ENGINE_FAILED, "The engine died.")
    assert (await sharing.transcribe_window(request())).text is None


def test_engines_that_compute_differently_have_different_names() -> None:
    settings = [
        Settings(_env_file=None, **changes)
        for changes in (
            {},
            {"transcription_model": "large"},
            {"engine_device": "cuda"},
            {"engine_compute_type": "float32"},
            {"engine_beam": 7},
        )
    ]
    assert len({engine_hash(variant) for variant in settings}) == len(settings)
    assert engine_hash(settings[0]) == engine_hash(Settings(_env_file=None, share_windows=Share.NEVER))
