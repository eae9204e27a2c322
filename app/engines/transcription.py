"""Transcribe windows to segments with a model of any family, and report speech for which no words were found."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from statistics import fmean
from time import monotonic

from natscribe.schemas.transcription import Segment, Stretch, TranscribeOptions, Word

from app.engines.audio.clips import Clip, cut_in_two, part_of
from app.engines.audio.samples import unpack
from app.engines.audio.timeline import Piece, Timeline
from app.engines.messages import Transcribe, WindowsTranscribed, WindowTranscribed
from app.engines.speech_model import Answer, SpeechModel, Text
from app.engines.text.coverage import holes, word_times
from app.engines.text.sentences import sentences, text_of

_MOST_HOLES = 6  # most holes of a clip that are transcribed again
_TELLING_S = 2.0  # the language of a shorter hole cannot be detected reliably
_BELIEVED = -1.0  # lowest mean log probability of a text that fills a hole


def transcribe(model: SpeechModel, job: Transcribe) -> WindowsTranscribed:
    """Transcribe a batch of windows.

    Raises:
        PermanentError: invalid_message: the model cannot follow the options.
    """
    model.check(job.options)
    started = monotonic()
    timelines = [Timeline(window.pieces) for window in job.windows]
    clips = [
        Clip(unpack(window.samples), timeline.speech) for window, timeline in zip(job.windows, timelines, strict=True)
    ]
    answer = model.transcribe(clips, job.options, job.previous)
    found = []
    complete = model.parallel.map(
        lambda each: _filled(model, *each, job.options), zip(clips, answer.texts, strict=True)
    )
    for clip, timeline, filled in zip(clips, timelines, complete, strict=True):
        segments = [segment for text in filled for segment in _segments(text, timeline)]
        found.append(
            WindowTranscribed(
                segments=sorted(segments, key=lambda segment: segment.start),
                untranscribed=[
                    Stretch(start=start, end=end)
                    for hole in _holes(filled, clip)
                    for start, end in timeline.sections(*hole)
                ],
            )
        )
    return WindowsTranscribed(
        found=found,
        language=answer.language,
        settled=answer.settled,
        seconds=monotonic() - started,
        model=model.identity,
    )


def _filled(model: SpeechModel, clip: Clip, texts: Sequence[Text], options: TranscribeOptions) -> list[Text]:
    """Fill the holes in the texts of a clip: transcribe each hole again, as a clip of its own.

    A clip without any words is transcribed again in halves. A text may fill only a part of its hole: the smaller hole
    that is left is transcribed too.
    """
    found, tried = list(texts), set[Piece]()
    while new := [hole for hole in _holes(found, clip) if hole not in tried][: _MOST_HOLES - len(tried)]:
        tried.update(new)
        for start, end in new:
            whole = end - start >= clip.seconds
            parts = cut_in_two(clip) if whole else [(start, part_of(clip, start, end))]
            again = _again(model, parts, options, _language_before(found, start))
            found = [*_cut(found, start), *again] if again else found
    return found


def _holes(texts: Sequence[Text], clip: Clip) -> list[Piece]:
    """Find the sections of speech without words; a clip without texts has no speech, and so no holes."""
    words = [word for text in texts for word in text.words]
    return holes(word_times(words, clip.speech), clip.speech, clip.seconds) if texts else []


def _cut(texts: Sequence[Text], second: float) -> Iterator[Text]:
    """Cut the texts where a hole begins, at `second`; a word that seems to last into the hole ends there."""
    for text in texts:
        before = [_ended(word, second) for word in text.words if word.start < second]
        after = [word for word in text.words if word.start >= second]
        for words in (before, after):
            if words:
                yield replace(text, words=words)


def _ended(word: Word, second: float) -> Word:
    return word.model_copy(update={"end": min(word.end, second)})


def _again(
    model: SpeechModel, parts: Sequence[tuple[float, Clip]], options: TranscribeOptions, language: str | None
) -> list[Text]:
    """Transcribe the parts of a hole; `language` is the one before the hole.

    No prompt, because a prompt may cause holes. A hole that is long enough is first transcribed in its own language,
    because somebody else may speak there.
    """
    plain = options.model_copy(update={"prompt": None})
    if options.language is None and sum(part.seconds for _, part in parts) >= _TELLING_S:
        answers = [(begin, model.transcribe([part], plain, language)) for begin, part in parts]
        texts = list(_believed(answers))
        if texts or all(answer.language == language for _, answer in answers):
            return texts
    guided = plain.model_copy(update={"language": language or options.language})
    return list(_believed([(begin, model.transcribe([part], guided, None)) for begin, part in parts]))


def _believed(answers: Iterable[tuple[float, Answer]]) -> Iterator[Text]:
    """Yield the texts that are probable enough; each answer comes with the second at which its part begins."""
    for begin, answer in answers:
        for text in chain.from_iterable(answer.texts):
            if text.words and (text.avg_logprob is None or text.avg_logprob >= _BELIEVED):
                words = [_moved(word, begin) for word in text.words]
                yield Text(words, text.language, text.avg_logprob, text.no_speech_prob)


def _language_before(texts: Sequence[Text], second: float) -> str | None:
    """Return the language of the last text that begins before the time `second`, or else that of the first text."""
    before = [text for text in texts if text.words and text.words[0].start <= second]
    return max(before, key=lambda text: text.words[0].start).language if before else texts[0].language


def _moved(word: Word, seconds: float) -> Word:
    return word.model_copy(update={"start": word.start + seconds, "end": word.end + seconds})


def _segments(text: Text, timeline: Timeline) -> Iterator[Segment]:
    for words in sentences([timeline.word(word) for word in text.words]):
        if not any(character.isalnum() for character in text_of(words)):
            continue  # a mark alone, such as a dash
        yield Segment(
            start=words[0].start,
            end=max(word.end for word in words),
            text=text_of(words),
            language=text.language,
            words=words,
            confidence=fmean(word.probability for word in words),
            avg_logprob=text.avg_logprob,
            no_speech_prob=text.no_speech_prob,
        )
