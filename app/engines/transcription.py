"""Transcribe windows to segments with a model of any family, and report speech for which no words were found."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from statistics import fmean
from time import monotonic

from natscribe.schemas.sharing import Window, WindowText
from natscribe.schemas.transcription import Segment, Stretch, TranscribeOptions, Word

from app.engines.audio.clips import Clip, cut_in_two, part_of
from app.engines.audio.samples import unpack
from app.engines.audio.timeline import Piece, Timeline
from app.engines.messages import Transcribe, WindowsTranscribed
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
    clips = [Clip(unpack(window.samples), Timeline(window.pieces).speech) for window in job.windows]
    answers = model.transcribe(clips, job.options, job.previous, draft=job.draft)
    if job.draft:
        filled: Iterator[Sequence[Text]] = (answer.texts for answer in answers)
    else:
        filled = model.parallel.map(
            lambda each: _filled(model, each[0], each[1].texts, job.options), zip(clips, answers, strict=True)
        )
    texts = [_window_text(*each) for each in zip(job.windows, clips, answers, filled, strict=True)]
    return WindowsTranscribed(texts=texts, seconds=monotonic() - started)


def _window_text(window: Window, clip: Clip, answer: Answer, texts: Sequence[Text]) -> WindowText:
    """Place the texts of a clip in the recording; `answer` is that of the whole clip, before its holes were filled."""
    timeline = Timeline(window.pieces)
    segments = [segment for text in texts for segment in _segments(text, timeline)]
    return WindowText(
        segments=sorted(segments, key=lambda segment: segment.start),
        untranscribed=[
            Stretch(start=start, end=end) for hole in _holes(texts, clip) for start, end in timeline.sections(*hole)
        ],
        language=answer.language,
        settled=answer.settled,
        end=window.end,
        channel=window.channel,
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
        answers = [(begin, _answer(model, part, plain, language)) for begin, part in parts]
        texts = list(_believed(answers))
        if texts or all(answer.language == language for _, answer in answers):
            return texts
    guided = plain.model_copy(update={"language": language or options.language})
    return list(_believed([(begin, _answer(model, part, guided, None)) for begin, part in parts]))


def _answer(model: SpeechModel, part: Clip, options: TranscribeOptions, previous: str | None) -> Answer:
    (answer,) = model.transcribe([part], options, [previous])
    return answer


def _believed(answers: Iterable[tuple[float, Answer]]) -> Iterator[Text]:
    """Yield the texts that are probable enough; each answer comes with the second at which its part begins."""
    for begin, answer in answers:
        for text in answer.texts:
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
