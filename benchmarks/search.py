"""`python -m benchmarks.search [RESULTS]`: how fast `services/search` indexes and finds, and how large its file is.

The transcripts are ten minutes long: 100 segments of 15 words, in English and Russian by turns. Their words are drawn
from 20,000 by Zipf's law, so that a query for a drawn word is mostly one for a frequent word: the worst case.
"""

import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from statistics import quantiles

from natscribe.schemas.examples import EXAMPLES
from natscribe.schemas.search import SearchRequest
from natscribe.schemas.transcription import Segment, TranscriptionResult

from services.search.index import Index

_SEGMENTS, _WORDS, _VOCABULARY, _BATCH, _USERS, _QUERIES = 100, 15, 20_000, 100, 50, 200
_FIRST_S, _EVERY_S = 1.79e9, 30.0  # when the first result was stored, and the pause to the next one
_LETTERS = {"en": "abcdefghijklmnoprstuvwy", "ru": "".join(map(chr, range(0x430, 0x450)))}


class Speech:
    """Words that people say."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 -- no secret
        weights = list(accumulate(1 / rank for rank in range(1, _VOCABULARY + 1)))
        self.words = {language: self._drawn(letters, weights) for language, letters in _LETTERS.items()}

    def said(self, language: str, count: int) -> str:
        """Words in a row."""
        start = self.random.randrange(len(self.words[language]) - count)
        return " ".join(self.words[language][start : start + count])

    def _drawn(self, letters: str, weights: list[float]) -> list[str]:
        return self.random.choices([self._word(letters) for _ in weights], cum_weights=weights, k=500_000)

    def _word(self, letters: str) -> str:
        return "".join(self.random.choices(letters, k=self.random.randint(2, 9)))


def results(speech: Speech, count: int) -> Iterator[TranscriptionResult]:
    """Yield transcripts of ten minutes."""
    example = EXAMPLES["TranscriptionResult"][0].payload
    whole = TranscriptionResult.model_validate(example, strict=False)
    for number in range(count):
        language = "ru" if number % 2 else "en"
        segments = [
            Segment(
                start=6.0 * place,
                end=6.0 * place + 5.5,
                text=speech.said(language, _WORDS),
                speaker=f"SPEAKER_0{place % 2}",
                language=language,
            )
            for place in range(_SEGMENTS)
        ]
        created = datetime.fromtimestamp(_FIRST_S + number * _EVERY_S, UTC)
        fields = {"task_id": f"t{number}", "user_id": number % _USERS, "segments": segments, "created_at": created}
        yield whole.model_copy(update=fields | {"voices": None})


def main(count: int) -> None:
    """Print the rate of indexing, the size of the file and the times of queries."""
    speech, batch, text_bytes, spent = Speech(1), list[tuple[TranscriptionResult, float]](), 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "search.db"
        index = Index(path)
        for number, result in enumerate(results(speech, count), 1):
            text_bytes += sum(len(segment.text.encode()) for segment in result.segments)
            batch.append((result, result.created_at.timestamp() + 1))
            if len(batch) == _BATCH or number == count:
                started = time.perf_counter()
                index.add(batch)
                spent += time.perf_counter() - started
                batch.clear()
        size = sum(file.stat().st_size for file in path.parent.iterdir()) / text_bytes
        print(f"{count / spent:.0f} results a second; files of {size:.2f} times the text of {text_bytes / 1e6:.0f} MB")
        queries(index, speech)
        started = time.perf_counter()
        index.erase("t7", _FIRST_S + count * _EVERY_S)
        print(f"an erasure takes {time.perf_counter() - started:.2f} s")
        index.close()


def queries(index: Index, speech: Speech) -> None:
    """Print the times of each kind of query."""
    draw: dict[str, Callable[[], dict[str, object]]] = {
        "a word": lambda: {"query": speech.said("en", 1)},
        "two words": lambda: {"query": f"{speech.said('ru', 1)} {speech.said('ru', 1)}"},
        "a phrase": lambda: {"query": f'"{speech.said("en", 2)}"'},
        "a prefix of 3 letters": lambda: {"query": f"{speech.said('en', 1)[:3]}*"},
        "a word, of a user": lambda: {"query": speech.said("en", 1), "user_id": speech.random.randrange(_USERS)},
        "a word, of a speaker": lambda: {"query": speech.said("ru", 1), "speaker": "SPEAKER_01"},
        "a word, of the first day": lambda: {
            "query": speech.said("en", 1),
            "until": datetime.fromtimestamp(_FIRST_S + 86_400, UTC).isoformat(),
        },
    }
    for name, make in draw.items():
        times = []
        for _ in range(_QUERIES):
            request = SearchRequest.model_validate(make())
            started = time.perf_counter()
            index.search(request)
            times.append(1000 * (time.perf_counter() - started))
        cuts = quantiles(times, n=20)
        print(f"{name}: p50 {cuts[9]:.1f} ms, p95 {cuts[18]:.1f} ms, worst {max(times):.1f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
