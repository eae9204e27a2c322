"""What a second worker that has nothing to do gives to one recording."""

import statistics

from benchmarks.caller import Caller
from benchmarks.recordings import CLIPS, Spoken, speech
from benchmarks.report import Findings, Table, percent, ratio, seconds
from benchmarks.service import serving
from benchmarks.sizes import Sizes
from benchmarks.stack import Stack, fresh
from benchmarks.talkers import Answer
from benchmarks.words import word_error_rate

WAYS = {"never": "windows are not shared", "auto": "shared where a core is free (default)", "always": "always shared"}


async def measure(sizes: Sizes) -> Findings:
    """Measure one recording on two workers, each way of the setting."""
    async with fresh() as stack:
        recording = speech(stack.folder / "speech.wav", sizes.speech_minutes)
        found = {way: await _measured(stack, recording, way, sizes) for way in WAYS}
    alone, shared = found["never"], found["always"]
    table = Table(
        f"One recording of {recording.seconds / 60:.1f} minutes, two workers",
        ("SHARE_WINDOWS", "seconds", "/ never", "words wrong"),
        [
            (
                f"{way}: {WAYS[way]}",
                seconds(answer.seconds),
                ratio(answer.seconds / alone.seconds),
                percent(word_error_rate(recording.words, answer.text)),
            )
            for way, answer in found.items()
        ],
        ["One engine thread each; the cache is off.", f"The texts are {_alike(found)}."],
    )
    return Findings([table], {"shared_over_alone": shared.seconds / alone.seconds})


async def _measured(stack: Stack, recording: Spoken, way: str, sizes: Sizes) -> Answer:
    caller, times, text = Caller(stack.nats), [], ""
    async with serving(stack, workers=2, cache_ttl=0, share_windows=way):
        clip, uploaded = await caller.upload(CLIPS[0]), await caller.upload(recording.path)
        for _ in range(4):
            await caller.run(clip)
        for number in range(sizes.rounds):
            sizes.tell(f"{WAYS[way]}, round {number + 1}")
            outcome = await caller.run(uploaded)
            times.append(outcome.ended)
            text = str((await caller.result(outcome))["text"])
    return Answer(statistics.median(times), text)


def _alike(found: dict[str, Answer]) -> str:
    return "the same" if len({answer.text for answer in found.values()}) == 1 else "not all the same"
