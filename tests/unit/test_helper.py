"""A helper without a network: what it takes, and what it returns."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from uuid import uuid4

import pytest
from annotated_types import Le
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.sharing import WindowsOffered
from natscribe.schemas.transcription import TranscribeOptions

from app.engines.messages import Job, Reply, Transcribe, WindowsTranscribed
from app.errors import TransientError
from app.settings import Settings
from app.work_sharing.helper import Alive, Handed, Helper, Returned, Volunteered, decode, way_of
from tests.fakes.engine import MODEL, FakeEngine, number_of
from tests.waiting import eventually

OWNER, OTHER, RUN = uuid4().hex, uuid4().hex, uuid4().hex
SOUND = bytes(320_000)
OPTIONS = TranscribeOptions(vocabulary=("Natscribe",), prompt="A call.")


class GatedEngine(FakeEngine):
    """Transcribes a window when it may, or fails."""

    def __init__(self) -> None:
        super().__init__()
        self.transcribed: list[int] = []
        self.batches: list[Transcribe] = []
        self.unsettled: list[int] = []  # windows whose text depends on the language before
        self.cut_off: list[int] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.fails: Exception | None = None

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        if isinstance(job, Transcribe):
            self.batches.append(job)
        async with aclosing(super().run(job)) as replies:
            async for reply in replies:
                if isinstance(job, Transcribe) and isinstance(reply, WindowsTranscribed):
                    yield self._after(job, reply)
                else:
                    yield reply

    def _after(self, job: Transcribe, found: WindowsTranscribed) -> WindowsTranscribed:
        """The language of the n-th window is the n-th letter of the alphabet, twice."""
        numbers = [number_of(window) for window in job.windows]
        language = chr(ord("a") + numbers[-1] % 26) * 2
        return found.model_copy(update={"language": language, "settled": numbers[0] not in self.unsettled})

    @property
    def sizes(self) -> list[int]:
        """How many windows it has transcribed at once."""
        return [len(job.windows) for job in self.batches]

    async def transcribes(self, number: int) -> None:
        self.transcribed.append(number)
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cut_off.append(number)
            raise
        if self.fails is not None:
            raise self.fails


class Coordinators:
    """The coordinators of other workers, and what they have received."""

    def __init__(self) -> None:
        self.received: list[tuple[str, Alive | Returned | Volunteered]] = []

    async def send(self, worker: str, body: bytes) -> None:
        line, _ = decode(body)
        assert isinstance(line, Alive | Returned | Volunteered)
        self.received.append((worker, line))

    async def returned(self) -> list[tuple[str, Returned]]:
        return [(worker, line) for worker, line in self.received if isinstance(line, Returned)]


@pytest.fixture
def engine() -> GatedEngine:
    return GatedEngine()


@pytest.fixture
def coordinators() -> Coordinators:
    return Coordinators()


@pytest.fixture
async def helper(engine: GatedEngine, coordinators: Coordinators) -> AsyncIterator[Helper]:
    """One that has volunteered for a run."""
    helper = Helper(engine, uuid4().hex, coordinators.send, cores=None)
    await helper.consider(WindowsOffered(run=RUN, owner=OWNER, model=MODEL, how=way_of(engine)))
    yield helper
    await helper.close()


def handed(number: int = 0, *, of: int = 1, run: str = RUN, owner: str = OWNER, batch: str = "b" * 32) -> Handed:
    pieces = [(number * 10, number * 10 + 4), (number * 10 + 4, number * 10 + 10)]
    return Handed(
        run=run, owner=owner, batch=batch, number=number, of=of, pieces=pieces, options=OPTIONS, previous="de"
    )


async def hand(helper: Helper, windows: int) -> None:
    for number in range(windows):
        await helper.receive(handed(number, of=windows), SOUND)


async def test_what_is_handed_over_for_another_run_does_not_end_the_help(
    helper: Helper, coordinators: Coordinators
) -> None:
    # Given a helper that waits for windows, when it is sent those of another run
    await helper.receive(handed(run=uuid4().hex, owner=OTHER), SOUND)
    assert await coordinators.returned() == [(OTHER, Returned(batch="b" * 32, found=None, more=False))]
    # Then it still takes those it waits for
    await hand(helper, 1)

    async def returned() -> list[Returned]:
        return [line for _, line in await coordinators.returned() if line.found is not None and line.more]

    await eventually(returned, within=5)


async def test_a_batch_is_transcribed_in_parts_and_returned_whole(
    helper: Helper, coordinators: Coordinators, engine: GatedEngine
) -> None:
    # Given a helper, when it is handed five windows
    await hand(helper, 5)
    # Then it transcribes two at a time, and what it found comes back in order
    ((_, answer),) = await eventually(coordinators.returned, within=5)
    assert engine.sizes == [2, 2, 1]
    assert answer.found is not None
    assert [[each.start for each in window.segments] for window in answer.found.found] == [[0], [10], [20], [30], [40]]
    assert answer.found.seconds == pytest.approx(0.3)
    assert answer.more


async def test_what_is_handed_over_is_transcribed_as_its_owner_would(
    helper: Helper, coordinators: Coordinators, engine: GatedEngine
) -> None:
    # Given a helper, when it is handed five windows that follow German
    await hand(helper, 5)
    ((_, answer),) = await eventually(coordinators.returned, within=5)
    # Then each window is transcribed with all options and its own pieces, and each two after the language before them
    assert {job.options for job in engine.batches} == {OPTIONS}
    assert [window.pieces for job in engine.batches for window in job.windows][1] == [(10, 14), (14, 20)]
    assert [job.previous for job in engine.batches] == ["de", "bb", "dd"]
    # And the owner learns what was spoken last
    assert answer.found is not None
    assert answer.found.language == "ee"


@pytest.mark.parametrize(("unsettled", "settled"), [([], True), ([0], False), ([2], True)])
async def test_a_batch_is_settled_where_its_beginning_is(
    helper: Helper, coordinators: Coordinators, engine: GatedEngine, unsettled: list[int], settled: bool
) -> None:
    # Given windows of which some would have another text after another language
    engine.unsettled = unsettled
    # When they are handed over
    await hand(helper, 4)
    ((_, answer),) = await eventually(coordinators.returned, within=5)
    # Then only the first ones may have to be transcribed again: what comes before the others is known
    assert answer.found is not None
    assert answer.found.settled is settled


def test_the_longest_window_can_be_lent_whatever_its_pieces() -> None:
    # Given windows of 20 s in two pieces, wherever they begin
    for frame in range(0, 10_000, 97):
        places = [(frame, frame + 377), (frame + 1280, frame + 1528)]
        pieces = [(round(start * 0.032, 3), round(end * 0.032, 3)) for start, end in places]
        # When they are handed over, then none is refused for being too long
        assert handed().model_copy(update={"pieces": pieces}).fits(bytes(640_000)), pieces


async def test_a_task_of_its_own_waits_for_no_whole_batch(
    helper: Helper, coordinators: Coordinators, engine: GatedEngine
) -> None:
    # Given a helper that transcribes the first of four windows
    engine.may_answer.clear()
    await hand(helper, 4)

    async def begun() -> bool:
        return engine.transcribed == [0]

    await eventually(begun)
    # When its worker gets a task, then the batch is returned after two
    async with helper.own_work():
        engine.may_answer.set()
        assert await eventually(coordinators.returned) == [(OWNER, Returned(batch="b" * 32, found=None, more=False))]
    assert engine.sizes == [2]


async def test_the_largest_batch_that_can_be_set_can_be_handed_over(helper: Helper, coordinators: Coordinators) -> None:
    # Given a service with the largest ENGINE_BATCH, when it hands over a whole batch, then that is transcribed
    (largest,) = [each.le for each in Settings.model_fields["engine_batch"].metadata if isinstance(each, Le)]
    await hand(helper, int(str(largest)))
    ((_, answer),) = await eventually(coordinators.returned, within=5)
    assert answer.found is not None


@pytest.mark.parametrize("error", [TransientError(ErrorCode.ENGINE_FAILED, "It died."), ValueError("no such reply")])
async def test_whatever_goes_wrong_the_batch_is_returned(
    helper: Helper, coordinators: Coordinators, engine: GatedEngine, error: Exception
) -> None:
    # Given an engine that fails, when it is handed a batch, then the owner gets it back
    engine.fails = error
    await hand(helper, 1)
    assert await eventually(coordinators.returned) == [(OWNER, Returned(batch="b" * 32, found=None, more=False))]


@pytest.mark.parametrize("sent", [1, 2])
async def test_a_worker_that_ends_gives_back_what_it_holds(
    helper: Helper, coordinators: Coordinators, engine: GatedEngine, sent: int
) -> None:
    # Given a helper that holds a batch, complete or not
    engine.may_answer.clear()
    for number in range(sent):
        await helper.receive(handed(number, of=2), SOUND)
    # When its worker ends, then the owner gets it back at once
    await helper.close()
    assert await coordinators.returned() == [(OWNER, Returned(batch="b" * 32, found=None, more=False))]


async def test_a_batch_that_is_not_transcribed_in_time_is_returned_and_its_engine_killed(
    helper: Helper, coordinators: Coordinators, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an engine that hangs
    monkeypatch.setattr("app.work_sharing.helper.LONGEST_BATCH_S", 0.05)
    engine.may_answer.clear()
    # When the helper is handed a window
    await hand(helper, 1)
    # Then the owner has it back, and the engine is free for this worker's own tasks
    assert await eventually(coordinators.returned, within=5) == [
        (OWNER, Returned(batch="b" * 32, found=None, more=False))
    ]
    assert engine.cut_off == engine.transcribed
