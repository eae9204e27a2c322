"""Redaction of a task's text: personal data is replaced before any text is stored, published or cached.

A number may be given over several windows, turns and channels, so redaction follows the transcription of single
windows (app/engines/text/filters.py), and reads the texts in order, with the plain text before them, which is only in
memory. The text of a recording also waits for the text after it; live text cannot wait.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from copy import copy, deepcopy
from dataclasses import dataclass
from itertools import accumulate

from natscribe.schemas.redaction import EntityType, SpokenEntity, TaskRedaction
from natscribe.schemas.transcription import Segment, TranscribeOptions

from app.engines.engine import Engine
from app.engines.messages import StageAdvanced
from app.engines.persons import find_persons
from app.engines.text.redaction.found import Found
from app.engines.text.redaction.persons import LANGUAGES
from app.engines.text.redaction.redaction import Numbering, Span, spans
from app.engines.text.replacing import Replacement, replaced, spoken_text
from app.engines.windows import WindowText
from app.speech.updates import Checkpoint

CONTEXT_CHARS = 600  # of earlier text, whose words say what a number is: rules look back 160 characters
LOOKAHEAD_CHARS = 200  # of later text: rules look for the next part of a number within 160 characters
MAX_HELD = 10  # texts of a recording that wait for later text


@dataclass(frozen=True, slots=True)
class _Place:
    """Characters of the context that were replaced, and the number of their value."""

    start: int
    end: int
    type: EntityType
    number: int


class Redactor:
    """Replaces personal data in the texts of one attempt at a task, if the task requests it."""

    def __init__(self, options: TranscribeOptions, checkpoint: Checkpoint, engine: Engine) -> None:
        """Continue after the redacted text of the checkpoint; new values get numbers that it does not have.

        `engine`: finds names of persons.
        """
        self._options = options
        self._engine = engine
        self._context = "\n".join(spoken_text(segment) for segment in checkpoint.segments[-10:])[-CONTEXT_CHARS:]
        self._channel: int | None = None  # of the text before
        self._places: list[_Place] = []
        self._numbering = Numbering()
        self._redacting = asyncio.Lock()  # live text, which a thread redacts, and a copy for a preview
        self.number_after(checkpoint.entities)

    def number_after(self, entities: Iterable[SpokenEntity]) -> None:
        """Give new values higher numbers than these have."""
        highest = self._numbering.highest
        for entity in entities:
            highest[entity.type] = max(highest[entity.type], entity.number)

    async def recording(
        self, items: AsyncGenerator[StageAdvanced | WindowText, None]
    ) -> AsyncGenerator[StageAdvanced | WindowText, None]:
        """Yield the texts of a recording or of one of its channels redacted, each when no number can continue in it.

        A text waits for LOOKAHEAD_CHARS of later text, but for MAX_HELD texts at most.

        Raises:
            TaskError: The engine failed to find names.
        """
        held: list[WindowText] = []
        async with aclosing(items):
            async for item in items:
                if self._options.redact is None or isinstance(item, StageAdvanced):
                    yield item
                    continue
                held.append(item)
                for text in await self._release(held):
                    yield text
        for text in await self._release(held, is_end=True):
            yield text
        self._context, self._places = "", []  # another channel follows

    async def live(self, text: WindowText) -> WindowText:
        """Return live text redacted with the text before it; digits at its end may be the beginning of a number.

        Raises:
            TaskError: The engine failed to find names.
        """
        if self._options.redact is None or not text.segments:
            return text
        async with self._redacting:
            persons = await self._persons(self._options.redact, [text])
            (redacted,) = await asyncio.to_thread(self._redact, self._options.redact, [text], persons, 1, is_open=True)
        return redacted

    async def preview(self, text: WindowText) -> WindowText:
        """Return what `live` would return now for the text of an utterance in progress."""
        async with self._redacting:
            trial = copy(self)
            trial._numbering = deepcopy(self._numbering)  # noqa: SLF001 -- of the same class
            trial._redacting = asyncio.Lock()  # noqa: SLF001
        return await trial.live(text)

    async def _release(self, held: list[WindowText], *, is_end: bool = False) -> list[WindowText]:
        """Remove from `held` the texts in which no number can continue, and return them redacted."""
        redact = self._options.redact
        if redact is None or not held:
            return []
        persons = await self._persons(redact, held)
        return await asyncio.to_thread(self._released, redact, held, persons, is_end=is_end)

    def _released(
        self, redact: TaskRedaction, held: list[WindowText], persons: Sequence[Found], *, is_end: bool
    ) -> list[WindowText]:
        count = len(held) if is_end else self._count_complete(redact, held, persons)
        released = self._redact(redact, held, persons, count) if count else []
        del held[:count]
        return released

    async def _persons(self, redact: TaskRedaction, texts: Sequence[WindowText]) -> list[Found]:
        text, _ = self._joined(texts)
        return await find_persons(self._engine, text, self._language(texts), redact.types)

    def _count_complete(self, redact: TaskRedaction, held: Sequence[WindowText], persons: Sequence[Found]) -> int:
        text, starts = self._joined(held)
        found = spans(text, self._language(held), redact.types, persons)
        parts: dict[tuple[EntityType, str], list[Span]] = defaultdict(list)
        for span in found:
            parts[span.type, span.value].append(span)
        segments = list(accumulate(len(item.segments) for item in held))
        for count in range(len(held) - 1, 0, -1):
            border = starts[segments[count - 1]]
            goes_on = any(same[0].start < border < same[-1].end for same in parts.values())
            if len(text) - border >= LOOKAHEAD_CHARS and not goes_on:
                return count
        spoken = [number for number, item in enumerate(held) if item.segments]
        return spoken[-MAX_HELD - 1] + 1 if len(spoken) > MAX_HELD else 0

    def _redact(
        self,
        redact: TaskRedaction,
        texts: Sequence[WindowText],
        persons: Sequence[Found],
        count: int,
        *,
        is_open: bool = False,
    ) -> list[WindowText]:
        """Return the first `count` texts redacted, and take them into the context; the others follow them.

        `persons`: the names in the context and the texts. `is_open`: whether the text goes on, so that digits at its
        end may be the beginning of a number.
        """
        text, starts = self._joined(texts)
        found = spans(text, self._language(texts), redact.types, persons, is_open=is_open)
        places = [_Place(span.start, span.end, span.type, self._number_of(span)) for span in found]
        redacted, index = list[WindowText](), 0
        for item in texts[:count]:
            segments, entities = list[Segment](), list[SpokenEntity]()
            for segment in item.segments:
                replacements = list[Replacement]()
                for place, span in zip(places, found, strict=True):
                    part = _part(segment, place.start - starts[index], place.end - starts[index])
                    if part is not None:
                        replacements.append(Replacement(*part, redact.replace.of(place.type, place.number)))
                        entities.append(_entity(segment, part, span, place.number))
                segments.append(replaced(segment, replacements))
                index += 1
            redacted.append(item.model_copy(update={"segments": segments, "entities": entities}))
        self._remember(text[: starts[index]].rstrip(), places)
        self._channel = texts[count - 1].channel
        return redacted

    def _remember(self, text: str, places: Sequence[_Place]) -> None:
        cut = max(len(text) - CONTEXT_CHARS, 0)
        self._context = text[cut:]
        before = [place for place in places if cut < place.end and place.start < len(text)]
        self._places = [
            _Place(place.start - cut, min(place.end, len(text)) - cut, place.type, place.number) for place in before
        ]

    def _joined(self, texts: Sequence[WindowText]) -> tuple[str, list[int]]:
        """Return the context and the segments of the texts, and where each of them and the end are.

        A line begins where the channel changes: as in a chat, a number may go on in the next line of its speaker.
        """
        joined, starts, before = self._context, list[int](), self._channel
        for text in texts:
            for segment in text.segments:
                joined += " " if text.channel == before else "\n"
                starts.append(len(joined))
                joined += spoken_text(segment).strip()
                before = text.channel
        return joined, [*starts, len(joined)]

    def _language(self, texts: Sequence[WindowText]) -> str | None:
        languages = {segment.language for item in texts for segment in item.segments}
        spoken = languages.pop() if len(languages) == 1 else None
        return "en" if self._options.translate else spoken or self._options.language

    def _number_of(self, span: Span) -> int:
        """Return the number of a value: that of an equal one, or of the part of it that was replaced before."""
        same = (one for one in self._places if one.type == span.type)
        earlier = (one.number for one in same if one.start < span.end and span.start < one.end)
        return self._numbering.of(span.type, span.value, earlier=next(earlier, None))


def warnings_of(options: TranscribeOptions, languages: Iterable[str]) -> list[str]:
    """Return what redaction cannot do in the languages of a transcript, in sentences for people."""
    redact = options.redact
    without = sorted(set(languages) - LANGUAGES)
    if redact is None or EntityType.PERSON not in redact.types or options.translate or not without:
        return []
    known = " and ".join(sorted(LANGUAGES))
    unread = ", ".join(without)
    return [
        f"redact: names of persons are found only in {known}, and none in {unread}: read the text in that language."
    ]


def _part(segment: Segment, start: int, end: int) -> tuple[int, int] | None:
    """Return which characters of a segment are between `start` and `end` of its line; None: there are none."""
    text = spoken_text(segment)
    indent = len(text) - len(text.lstrip())
    start, end = max(start, 0) + indent, min(end + indent, len(text))
    inside = text[start : max(start, end)].rstrip()
    return (start, start + len(inside)) if inside else None


def _entity(segment: Segment, part: tuple[int, int], span: Span, number: int) -> SpokenEntity:
    """Return what is replaced in a segment, with the times of its words, or else of the segment."""
    words = segment.words or []
    ends = accumulate(len(word.word) for word in words)
    pairs = zip(words, ends, strict=True)
    inside = [word for word, end in pairs if end > part[0] and end - len(word.word) < part[1]]
    start = inside[0].start if inside else segment.start
    end = max((word.end for word in inside), default=segment.end)
    return SpokenEntity(type=span.type, start=start, end=end, score=round(span.score, 2), number=number)
