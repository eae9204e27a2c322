"""Transcription: a batch of windows to segments, whatever the family of the model, with no speech left out silently."""

from collections.abc import Iterator, Sequence
from statistics import fmean
from time import monotonic

from app.engines.clips import Clip, part_of
from app.engines.coverage import holes
from app.engines.messages import Transcribe, WindowsTranscribed, WindowTranscribed
from app.engines.samples import unpack
from app.engines.sentences import sentences, text_of
from app.engines.speech_model import SpeechModel, Text
from app.engines.timeline import Piece, Timeline
from schemas.transcription import Segment, Stretch, TranscribeOptions, Word

_BELIEVED = -1.0  # mean log probability, at least, of what is found where nothing was found before
_WHOLE = 0.8  # of a clip: without another prompt, a hole as large as that would be the same clip again


def transcribe(model: SpeechModel, job: Transcribe) -> WindowsTranscribed:
    """Transcribe a batch of windows (PermanentError, invalid_message: options that the model cannot follow)."""
    model.check(job.options)
    started = monotonic()
    timelines = [Timeline(window.pieces) for window in job.windows]
    clips = [
        Clip(unpack(window.samples), timeline.speech) for window, timeline in zip(job.windows, timelines, strict=True)
    ]
    answer = model.transcribe(clips, job.options, job.previous)
    found = []
    for clip, timeline, texts in zip(clips, timelines, answer.texts, strict=True):
        filled = _filled(model, clip, texts, job.options)
        missing = holes(_times(filled), clip.speech, clip.seconds) if filled else []
        segments = [segment for text in filled for segment in _segments(text, timeline)]
        found.append(
            WindowTranscribed(
                segments=sorted(segments, key=lambda segment: segment.start),
                untranscribed=[_stretch(timeline, *hole) for hole in missing],
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
    """The texts of a clip, and those of the holes between them: each hole is transcribed as a clip of its own."""
    found = list(texts)
    for start, end in holes(_times(texts), clip.speech, clip.seconds) if texts else ():
        if end - start < _WHOLE * clip.seconds or options.prompt:
            found += _again(model, part_of(clip, start, end), start, _told(options, _before(texts, start)))
    return found


def _again(model: SpeechModel, clip: Clip, start: float, options: TranscribeOptions) -> Iterator[Text]:
    for texts in model.transcribe([clip], options, None).texts:
        for text in texts:
            if text.words and (text.avg_logprob is None or text.avg_logprob >= _BELIEVED):
                yield Text(
                    [_moved(word, start) for word in text.words], text.language, text.avg_logprob, text.no_speech_prob
                )


def _times(texts: Sequence[Text]) -> list[Piece]:
    return [(word.start, word.end) for text in texts for word in text.words]


def _before(texts: Sequence[Text], second: float) -> str | None:
    """The language that is spoken before a second of the clip, or else after it."""
    before = [text.language for text in texts if text.words and text.words[0].start <= second]
    return before[-1] if before else texts[0].language


def _told(options: TranscribeOptions, language: str | None) -> TranscribeOptions:
    """The options for a hole: in the language around it, and without the prompt, which may be why it is there."""
    return options.model_copy(update={"language": language or options.language, "prompt": None})


def _moved(word: Word, seconds: float) -> Word:
    return word.model_copy(update={"start": word.start + seconds, "end": word.end + seconds})


def _segments(text: Text, timeline: Timeline) -> Iterator[Segment]:
    for words in sentences([timeline.word(word) for word in text.words]):
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


def _stretch(timeline: Timeline, start: float, end: float) -> Stretch:
    """A hole of a window in the recording, from the piece in which it begins to the one in which it ends."""
    first = timeline.moment(start)
    return Stretch(start=first, end=max(first, timeline.moment(end)))
