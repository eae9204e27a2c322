"""Time and wrong words for each kind of recording: the service, and the bare engine, batched and sequential."""

import statistics
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import cast

from benchmarks.client import TimedClient
from benchmarks.kinds import RecordingKind
from benchmarks.measured import BATCHED, ENGINES, OURS, SEQUENTIAL, Measured, Overall, Result, Round
from benchmarks.programs import Program, bare_engines
from benchmarks.report import NOT_MEASURED, Table, percent, points, ratio, seconds, whole
from benchmarks.service import serving
from benchmarks.sizes import Sizes
from benchmarks.stack import Stack
from tests.truth.recordings import CLIPS

Engines = Mapping[tuple[str, ...], Program]


async def beside(stack: Stack, kinds: Sequence[RecordingKind], sizes: Sizes) -> list[Measured]:
    """Measure the service and the batched engine in turn, round by round, then the sequential engine once."""
    measured = [Measured(kind) for kind in kinds]
    async with serving(stack, cache_ttl=0), _engines(stack, "batched", kinds) as batched:
        client = TimedClient(stack.nats)
        await client.process(CLIPS[0])
        for row in measured:
            for number in range(sizes.rounds):
                sizes.log(f"{row.kind.name}, round {number + 1}")
                row.rounds[BATCHED].append(await _bare(batched, row.kind))
                row.rounds[OURS].append(await _served(client, row.kind))
    async with _engines(stack, "sequential", kinds) as sequential:
        for row in measured:
            sizes.log(f"{row.kind.name}, {SEQUENTIAL}")
            row.rounds[SEQUENTIAL].append(await _bare(sequential, row.kind))
    return measured


@asynccontextmanager
async def _engines(stack: Stack, way: str, kinds: Iterable[RecordingKind]) -> AsyncIterator[Engines]:
    """Run a warm bare engine for each set of options that the kinds need."""
    engines: dict[tuple[str, ...], Program] = {}
    async with AsyncExitStack() as programs:
        for options in {kind.bare_options for kind in kinds}:
            (engines[options],) = await programs.enter_async_context(bare_engines(stack, way, *options))
            await engines[options].process(CLIPS[0])
        yield engines


async def _bare(engines: Engines, kind: RecordingKind) -> Round:
    outputs = [await engines[kind.bare_options].process(recording.path) for recording in kind.recordings]
    return Round(sum(output.seconds for output in outputs), [output.text for output in outputs])


async def _served(client: TimedClient, kind: RecordingKind) -> Round:
    """From the publication of each task to its `completed`, one task after the other."""
    paths = kind.calls or [recording.path for recording in kind.recordings]
    uploaded = [await client.upload(path) for path in paths]
    outcomes = [await client.run(name) for name in uploaded]
    results = [await client.result(outcome) for outcome in outcomes]
    texts = [text for result in results for text in (_by_channel(result) if kind.calls else [str(result["text"])])]
    if len(kind.recordings) == 1:  # the bare engine gets all channels of a call at once
        texts = [" ".join(texts)]
    return Round(sum(outcome.ended for outcome in outcomes), texts, results)


def _by_channel(result: Result) -> list[str]:
    """Join the segments of each channel."""
    texts = ["", ""]
    for segment in cast("Iterable[Mapping[str, object]]", result["segments"]):
        texts[int(str(segment.get("channel") or 0))] += f" {segment['text']}"
    return texts


COLUMNS = (
    *("", "minutes", "seconds", "/ batched", "/ sequential", "words wrong", "batched", "sequential"),
    *("points above the better", "words missing in a row"),
)


def table(measured: Sequence[Measured], where: str) -> Table:
    """One row for each kind, then all of them together, and the worst."""
    every = Overall(measured)
    mean, most = [
        (NOT_MEASURED, NOT_MEASURED, *(ratio(of(every.over(engine))) for engine in (BATCHED, SEQUENTIAL)))
        for of in (statistics.mean, max)
    ]
    worst = [max(row.score(engine).rate for row in every.measured) for engine in ENGINES]
    missing = whole(every.longest_missing)
    last = [
        ("mean time, words of all", *mean, *_words_wrong(every), missing),
        ("one language, words of all", *[NOT_MEASURED] * 4, *_words_wrong(every.of_one_language()), missing),
        ("worst", *most, *map(percent, worst), points(every.worst_beyond_better), missing),
    ]
    return Table("Kinds of recordings, one engine thread", COLUMNS, [*map(_row, measured), *last], _notes(where))


def _words_wrong(kinds: Overall) -> tuple[str, ...]:
    return *(percent(kinds.score(engine).rate) for engine in ENGINES), points(kinds.beyond_better)


def _row(row: Measured) -> tuple[str, ...]:
    return (
        row.kind.name,
        f"{row.kind.seconds / 60:.1f}",
        seconds(row.seconds(OURS)),
        *(ratio(row.over(engine)) for engine in (BATCHED, SEQUENTIAL)),
        *(percent(row.score(engine).rate) for engine in ENGINES),
        points(row.beyond_better),
        whole(row.score(OURS).longest_missing),
    )


def _notes(where: str) -> list[str]:
    return [
        f"Recordings: {where}. No language is given to any; the same whisper-base (int8), beam 5, batches of 4.",
        "Seconds: this service, from publication to `completed`, the recording in NATS' Object Store, the cache off.",
        "Messages: one task after the other, summed.",
        "Words wrong: errors by words; in the last rows those of all kinds, then of all kinds but `languages`.",
        "The reading is a minute, again and again: its time counts as a kind's, its words are not in that sum.",
        "calls: in each channel a dozen of the short messages, with pauses; their words are not in that sum either.",
        "Words missing in a row: the longest run of words that this service left out.",
        "languages: the bare engine runs with `multilingual=True`.",
        "two-channels, calls: without options; the bare engine is given each channel as a file of its own.",
    ]
