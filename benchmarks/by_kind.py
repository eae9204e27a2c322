"""Time and wrong words for each kind of recording: the service, and the bare engine, batched and sequential."""

import statistics
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import cast

from benchmarks.caller import Caller
from benchmarks.kinds import Kind
from benchmarks.measured import BATCHED, OURS, SEQUENTIAL, WAYS, Heard, Measured, Overall, Result
from benchmarks.report import NOT_MEASURED, Table, percent, points, ratio, seconds, whole
from benchmarks.service import serving
from benchmarks.sizes import Sizes
from benchmarks.stack import Stack
from benchmarks.talkers import Talker, bare_engines
from tests.truth.recordings import CLIPS

Engines = Mapping[tuple[str, ...], Talker]


async def beside(stack: Stack, kinds: Sequence[Kind], sizes: Sizes) -> list[Measured]:
    """Measure the service and the batched engine in turn, round by round, then the sequential engine once."""
    measured = [Measured(kind) for kind in kinds]
    async with serving(stack, cache_ttl=0), _engines(stack, "batched", kinds) as batched:
        caller = Caller(stack.nats)
        await caller.run(await caller.upload(CLIPS[0]))
        for each in measured:
            for number in range(sizes.rounds):
                sizes.tell(f"{each.kind.name}, round {number + 1}")
                each.rounds[BATCHED].append(await _bare(batched, each.kind))
                each.rounds[OURS].append(await _served(caller, each.kind))
    async with _engines(stack, "sequential", kinds) as sequential:
        for each in measured:
            sizes.tell(f"{each.kind.name}, {SEQUENTIAL}")
            each.rounds[SEQUENTIAL].append(await _bare(sequential, each.kind))
    return measured


@asynccontextmanager
async def _engines(stack: Stack, way: str, kinds: Iterable[Kind]) -> AsyncIterator[Engines]:
    """Run a warm bare engine for each set of options that the kinds need."""
    engines: dict[tuple[str, ...], Talker] = {}
    async with AsyncExitStack() as running:
        for options in {kind.bare_options for kind in kinds}:
            (engines[options],) = await running.enter_async_context(bare_engines(stack, way, *options))
            await engines[options].transcribe(CLIPS[0])
        yield engines


async def _bare(engines: Engines, kind: Kind) -> Heard:
    answers = [await engines[kind.bare_options].transcribe(recording.path) for recording in kind.recordings]
    return Heard(sum(answer.seconds for answer in answers), [answer.text for answer in answers])


async def _served(caller: Caller, kind: Kind) -> Heard:
    """From the publication of each task to its `completed`, one task after the other."""
    paths = kind.calls or [recording.path for recording in kind.recordings]
    uploaded = [await caller.upload(path) for path in paths]
    outcomes = [await caller.run(name) for name in uploaded]
    results = [await caller.result(outcome) for outcome in outcomes]
    texts = [text for result in results for text in (_by_channel(result) if kind.calls else [str(result["text"])])]
    if len(kind.recordings) == 1:  # the bare engine hears all channels of a call at once
        texts = [" ".join(texts)]
    return Heard(sum(outcome.ended for outcome in outcomes), texts, results)


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
    every = Overall.of(measured)
    mean, most = [
        (NOT_MEASURED, NOT_MEASURED, *(ratio(of(every.over(way))) for way in (BATCHED, SEQUENTIAL)))
        for of in (statistics.mean, max)
    ]
    worst = [max(each.score(way).rate for each in every.measured) for way in WAYS]
    missing = whole(every.longest_missing)
    last = [
        ("mean time, words of all", *mean, *_words_wrong(every), missing),
        ("one language, words of all", *[NOT_MEASURED] * 4, *_words_wrong(every.of_one_language()), missing),
        ("worst", *most, *map(percent, worst), points(every.worst_beyond_better), missing),
    ]
    return Table("Kinds of recordings, one engine thread", COLUMNS, [*map(_row, measured), *last], _notes(where))


def _words_wrong(kinds: Overall) -> tuple[str, ...]:
    return *(percent(kinds.score(way).rate) for way in WAYS), points(kinds.beyond_better)


def _row(each: Measured) -> tuple[str, ...]:
    return (
        each.kind.name,
        f"{each.kind.seconds / 60:.1f}",
        seconds(each.seconds(OURS)),
        ratio(each.over(BATCHED)),
        ratio(each.over(SEQUENTIAL)),
        *(percent(each.score(way).rate) for way in WAYS),
        points(each.beyond_better),
        whole(each.score(OURS).longest_missing),
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
        "Given the file as it comes, the bare engine transcribes the mix of both: that row is in no mean and no sum.",
    ]
