"""`python -m benchmarks.redaction.windows [SET] [N]`: recall if each value begins in one window and ends in the next.

The worst place for a border: each text is cut in two, at a random word within its first value. A recording redacts both
windows together, a live task the first one before it knows the second.
"""

import asyncio
import random
import re
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Sequence

from natscribe.schemas.redaction import EntityType
from natscribe.schemas.transcription import Segment, TranscriptionTask, Word

from app.engines.messages import StageAdvanced
from app.engines.process.engine_processes import EngineProcesses
from app.engines.text.redaction.digit_runs import TOKEN
from app.engines.text.redaction.lexicon import FILLERS
from app.engines.windows import WindowText
from app.settings import Settings
from app.speech.redaction import Redactor
from app.speech.updates import Checkpoint
from benchmarks.redaction.measure import lines, own_characters

_WORD = re.compile(r"\s*\S+")


async def main(which: str, rounds: int) -> None:
    """Print the recall of each type, of whole values, in recordings and in live audio."""
    print("| language | type | values | recordings | live |\n|---|---|---|---|---|")
    choice, engine = random.Random(rounds), EngineProcesses(Settings())
    for language in ("en", "ru"):
        counts = Counter[tuple[EntityType, str]]()
        for text, truth in lines(language, which, rounds):
            start, end, type_, _ = truth[0] if truth else (0, 0, EntityType.NUMBER, False)
            words = list(_WORD.finditer(text))
            borders = [number for number, word in enumerate(words) if start < word.start() < end]
            if not borders:
                continue
            border = choice.choice(borders)
            windows = [_window(words[:border], 0, language), _window(words[border:], border, language)]
            own = own_characters(text, start, end)
            value = {number for number, word in enumerate(words) if own.intersection(range(*word.span()))}
            counts[type_, "values"] += 1
            for kind, redacted in (("recording", _recording), ("live", _live)):
                task = {"task_id": "t", "audio_file_id": "a", "user_id": 1, "redact": {"entities": [type_.value]}}
                texts = await redacted(Redactor(TranscriptionTask.model_validate(task), Checkpoint(), engine), windows)
                plain = {
                    word.start
                    for text in texts
                    for part in text.segments
                    for word in part.words or ()
                    if word.word == words[int(word.start)].group()
                    and not FILLERS.issuperset(TOKEN.findall(word.word.casefold()))
                }
                counts[type_, kind] += not plain & value
        for type_ in sorted({type_ for type_, _ in counts}):
            values = counts[type_, "values"]
            shares = " | ".join(f"{counts[type_, kind] / values:.1%}" for kind in ("recording", "live"))
            print(f"| {language} | `{type_.value}` | {values} | {shares} |")
    await engine.close()


def _window(words: Sequence[re.Match[str]], first: int, language: str) -> WindowText:
    spoken = [
        Word(start=first + number, end=first + number + 1, word=word.group(), probability=1)
        for number, word in enumerate(words)
    ]
    text = "".join(word.word for word in spoken)
    segment = Segment(start=first, end=first + len(words), text=text.strip(), language=language, words=spoken)
    return WindowText(segments=[segment], end=segment.end)


async def _recording(redactor: Redactor, windows: Sequence[WindowText]) -> list[WindowText]:
    async def items() -> AsyncGenerator[StageAdvanced | WindowText, None]:
        for window in windows:
            yield window

    return [item async for item in redactor.recording(items()) if isinstance(item, WindowText)]


async def _live(redactor: Redactor, windows: Sequence[WindowText]) -> list[WindowText]:
    return [await redactor.live(window) for window in windows]


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
