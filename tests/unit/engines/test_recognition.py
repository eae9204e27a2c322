"""Transcription with a model that replies from a script: its calls, and the texts built from its outputs."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.transcription import TranscribeOptions, Word
from natscribe.schemas.wire import Model

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import pack, unpack
from app.engines.audio.timeline import Times
from app.engines.audio.window_audio import WindowAudio
from app.engines.messages import Transcribe, WindowsTranscribed
from app.engines.parallel import Parallel
from app.engines.recognition import transcribe
from app.engines.speech_model import ModelOutput, Text
from app.engines.text.filters import filtered
from app.engines.windows import Window, WindowText
from app.runtime.errors import PermanentError
from tests.audio import tone

MODEL = Model(name="scripted", revision="1")
UNKNOWN = PermanentError(ErrorCode.INVALID_MESSAGE, "The model does not know the language 'xx': name another one.")


def words_at(*starts: float, text: str = "word", language: str | None = "en", avg_logprob: float | None = -0.2) -> Text:
    """A text with a word of a second at each of these seconds of its audio."""
    words = [Word(start=at, end=at + 1, word=f" {text}", probability=0.5 + at % 2 / 10) for at in starts]
    return Text(words, language, avg_logprob, 0.1)


@dataclass
class ScriptedModel:
    """Returns the entries of `script`, one per window, then no text; records the jobs."""

    script: list[list[Text]]
    identity: Model = MODEL
    fingerprint: str = "as written"
    language: str | None = "en"
    settled: bool = True
    parallel: Parallel = field(default_factory=Parallel)
    requests: list[tuple[list[float], str | None, list[str | None]]] = field(default_factory=list)
    interim: list[bool] = field(default_factory=list)

    def check(self, options: TranscribeOptions) -> None:
        if options.language == "xx":
            raise UNKNOWN

    def transcribe(
        self,
        batch: Sequence[WindowAudio],
        options: TranscribeOptions,
        previous: Sequence[str | None],
        *,
        interim: bool = False,
    ) -> list[ModelOutput]:
        self.interim.append(interim)
        self.requests.append(([round(audio.seconds, 3) for audio in batch], options.language, list(previous)))
        return [ModelOutput(self.script.pop(0) if self.script else [], self.language, self.settled) for _ in batch]


def window(*pieces: Times) -> Window:
    seconds = sum(end - start for start, end in pieces)
    return Window(regions=list(pieces), samples=pack(np.zeros(round(seconds * SAMPLE_RATE), np.float32)))


def run(
    model: ScriptedModel,
    *windows: Window,
    options: TranscribeOptions = TranscribeOptions(),  # noqa: B008 -- frozen
    previous: Sequence[str | None] = (),
) -> WindowsTranscribed:
    languages = list(previous) or [None] * len(windows)
    return transcribe(model, Transcribe(windows=list(windows), options=options, previous=languages))


def text_of(model: ScriptedModel, window: Window, previous: str | None = None) -> WindowText:
    (result,) = run(model, window, previous=[previous]).texts
    return result


def texts(transcribed: WindowsTranscribed) -> list[list[str]]:
    return [[part.text for part in result.segments] for result in transcribed.texts]


def test_a_batch_is_one_call_with_an_output_for_each_window() -> None:
    # Given a batch of three windows, when it is transcribed
    model = ScriptedModel([[words_at(0.5, text="first")], [], [words_at(0.5, text="third")]])
    windows = window((0, 2)), window((10, 12)), window((20, 22)).model_copy(update={"channel": 1})
    transcribed = run(model, *windows, previous=["de", None, "en"])

    # Then the model was called once, with the language before each, and each window has its own text and times
    assert model.requests == [([2, 2, 2], None, ["de", None, "en"])]
    assert texts(transcribed) == [["first"], [], ["third"]]
    (segment,) = transcribed.texts[2].segments
    assert (segment.start, segment.end) == (20.5, 21.5)
    assert [(text.end, text.channel) for text in transcribed.texts] == [(2, None), (12, None), (22, 1)]
    assert {(text.language, text.settled) for text in transcribed.texts} == {("en", True)}
    assert 0 < transcribed.seconds < 60


def test_words_have_times_in_the_region_in_which_they_are_spoken() -> None:
    # Given a window of two pieces with half a minute between them, and a word in each
    model = ScriptedModel([[words_at(0.5, 2.5)]])

    # When it is transcribed
    result = text_of(model, window((10, 12), (42, 44)))

    # Then each is a segment at its own time, since so long a silence ends one, with its language and its words
    assert [(part.start, part.end) for part in result.segments] == [(10.5, 11.5), (42.5, 43.5)]
    assert [(word.start, word.end) for part in result.segments for word in part.words or ()] == [
        (10.5, 11.5),
        (42.5, 43.5),
    ]
    assert {part.language for part in result.segments} == {"en"}
    # And the next window may begin behind the last piece
    assert result.end == 44


def test_a_segment_is_as_sure_as_its_words() -> None:
    # Given two words of which one is surer than the other, when they are transcribed
    result = text_of(ScriptedModel([[words_at(0, 1)]]), window((0, 2)))

    # Then the segment says their mean, and what the model gives for the whole
    (segment,) = result.segments
    assert segment.confidence == pytest.approx(0.55)
    assert (segment.avg_logprob, segment.no_speech_prob) == (-0.2, 0.1)


def test_values_that_a_model_does_not_report_are_null() -> None:
    # Given a model that gives neither languages nor probabilities of whole texts
    model = ScriptedModel([[Text([Word(start=0, end=1, word="word", probability=1)])]], language=None)

    # When it transcribes
    result = text_of(model, window((0, 2)))

    # Then the segment says so
    (segment,) = result.segments
    assert (segment.language, segment.avg_logprob, segment.no_speech_prob, result.language) == (None,) * 4


def test_the_reply_says_whether_the_language_before_matters() -> None:
    # Given a model whose text would differ after another language, then its reply says so
    assert not text_of(ScriptedModel([[words_at(0)]], settled=False), window((0, 2))).settled


FIRST_HALF, SECOND_HALF = range(10), range(1, 10)  # of a window of 20 s; the second one from its own start


def test_speech_without_words_is_transcribed_again_on_its_own() -> None:
    # Given a model that ends a window after its first half, with a word of no length, and finds the rest alone
    rest, last = words_at(*SECOND_HALF, text="rest", language="es"), Word(start=10, end=10, word=" last", probability=0)
    first = words_at(*FIRST_HALF, language="es")
    model = ScriptedModel([[replace(first, words=[*first.words, last])], [rest]])

    # When the window is transcribed
    result = text_of(model, window((100, 120)), previous="en")

    # Then the model got the gap, with the language spoken before it
    assert model.requests == [([20], None, ["en"]), ([10], None, ["es"])]
    # And the text is whole, in its place, and nothing is untranscribed
    assert " ".join(part.text for part in result.segments) == " ".join(["word"] * 10 + ["last"] + ["rest"] * 9)
    assert [result.segments[0].start, result.segments[-1].end] == [100, 120]
    assert result.untranscribed == []


def test_gaps_are_transcribed_in_their_own_language_or_else_in_the_surrounding_one() -> None:
    # Given a model that detects another language in what it left out, and finds nothing that can be believed there
    doubtful, sure = (
        words_at(*SECOND_HALF, text=f"{log_probability}", avg_logprob=log_probability)
        for log_probability in (-1.01, -1.0)
    )
    model = ScriptedModel([[words_at(*FIRST_HALF, language="es")], [doubtful], [sure]])

    # When the window is transcribed, then the language around it is tried, too
    result = text_of(model, window((100, 120)))
    assert [language for _, language, _ in model.requests] == [None, None, "es"]
    assert "-1.0" in result.segments[-1].text


@pytest.mark.parametrize("named", ["es", None])
def test_a_language_that_the_task_names_is_used_for_gaps(named: str | None) -> None:
    # Given a task that names its language, when something is missing, then it is not requested in another one
    model = ScriptedModel([[words_at(*FIRST_HALF, language=named)], [words_at(*SECOND_HALF, language=named)]])
    run(model, window((100, 120)), options=TranscribeOptions(language="es"))
    assert model.requests == [([20], "es", [None]), ([10], "es", [None])]


@pytest.mark.parametrize(("seconds", "language"), [(10, None), (9.9, "en")])
def test_a_hole_of_a_moment_has_the_language_around_it(seconds: float, language: str | None) -> None:
    # Given a window whose last two seconds, or a little less, have no words, when they are transcribed again
    model = ScriptedModel([[words_at(*range(8))], [words_at(0, 1)]])
    text_of(model, window((0, seconds)))
    # Then only two seconds have their language identified
    assert model.requests[1][1] == language


def test_no_more_than_six_holes_of_a_window_are_transcribed_again() -> None:
    # Given a model that writes every fourth word of a window, and no more
    model = ScriptedModel([[words_at(*range(0, 28, 4))]])
    result = text_of(model, window((0, 28)))
    assert (len(model.requests), len(result.untranscribed)) == (1 + 6, 7)


@pytest.mark.parametrize(
    "again", [[], [words_at(*SECOND_HALF, avg_logprob=-1.5)]], ids=["nothing", "something doubtful"]
)
def test_speech_without_text_is_reported_as_untranscribed(again: list[Text]) -> None:
    # Given a model that ends a window after its first half, and finds nothing that can be believed in the rest
    model = ScriptedModel([[words_at(*FIRST_HALF)], again])

    # When the window is transcribed
    result = text_of(model, window((100, 120)))

    # Then the rest is named as untranscribed, and nothing is invented
    assert " ".join(part.text for part in result.segments) == " ".join(["word"] * 10)
    assert [(gap.start, gap.end) for gap in result.untranscribed] == [(110, 120)]


def test_a_window_without_any_words_is_no_speech() -> None:
    # Given a model that finds nothing in a window, as in music
    model = ScriptedModel([[]])

    # When it is transcribed
    result = text_of(model, window((0, 12)))

    # Then it is not called again, and nothing is missing
    assert (result.segments, result.untranscribed) == ([], [])
    assert len(model.requests) == 1


def test_text_of_a_gap_is_inserted_where_it_is_spoken() -> None:
    # Given a word that seems to last over a sentence, and that sentence when its audio is transcribed alone
    stretched = Text(
        [Word(start=0.2, end=8.0, word=" So", probability=1.0), *words_at(8.0, 9.0).words], "en", -0.2, 0.1
    )
    model = ScriptedModel([[stretched], [words_at(0.5, 1.5, 2.5, 3.5, text="closed")]])
    # When the window is transcribed
    result = text_of(model, window((0.0, 10.0)))
    # Then the text is in order when it has passed all filters, and no segment overlaps another
    result = filtered(result, TranscribeOptions())
    assert [segment.text for segment in result.segments] == ["So", "closed closed closed closed", "word word"]
    assert all(one.end <= other.start for one, other in pairwise(result.segments))


def test_text_of_a_gap_may_leave_another_gap() -> None:
    # Given a model that breaks off early, and does so again in what it left out
    model = ScriptedModel(
        [[words_at(0, text="one")], [words_at(0, 1, text="two")], [words_at(*range(5), text="three")]]
    )
    transcribed = run(model, window((0, 12)))
    # Then what is left is transcribed until nothing more is found
    assert [lengths for lengths, _, _ in model.requests] == [[12], [11], [9], [4]]
    assert texts(transcribed)[0][-1].startswith("three")
    # And what is silent in the end is named
    assert [interval.start for interval in transcribed.texts[0].untranscribed] == [8]


def test_holes_of_several_windows_are_transcribed_at_the_same_time() -> None:
    # Given two windows whose last seconds have no words, and a model that replies for these only if it has both
    both = Barrier(2)

    class Model(ScriptedModel):
        def transcribe(self, batch: Sequence[WindowAudio], *arguments: Any, **options: Any) -> list[ModelOutput]:
            if len(batch) == 1:
                both.wait(10)
                return [ModelOutput([words_at(0, 1, 2, text="found")])]
            return super().transcribe(batch, *arguments, **options)

    # When both are transcribed on two threads
    model = Model([[words_at(0, 1, 2, text="one")], [words_at(0, 1, 2, text="two")]], parallel=Parallel(2))
    transcribed = run(model, window((0, 6)), window((10, 16)))

    # Then each has its own text, completed
    assert [" ".join(words) for words in texts(transcribed)] == [
        "one one one found found found",
        "two two two found found found",
    ]


def test_an_interim_pass_is_written_in_one_go_whatever_it_leaves_out() -> None:
    # Given a window whose last seconds have no words
    model = ScriptedModel([[words_at(0, 1, 2)], [words_at(0)]])
    # When the pass is interim, then the model is called once, for an interim pass
    (result,) = transcribe(model, Transcribe(windows=[window((5, 15))], previous=["en"], interim=True)).texts
    assert (model.interim, len(model.requests)) == ([True], 1)
    assert [segment.start for segment in result.segments] == [5]
    # And a text is not
    text_of(model, window((0, 10)))
    assert not any(model.interim[1:])


def test_speech_without_any_text_is_tried_in_halves() -> None:
    model = ScriptedModel([[Text([], "en", -0.2, 0.1)], [words_at(*range(9))], [words_at(*range(9))]])
    result = text_of(model, window((0.0, 10.0), (20.0, 30.0)))
    assert [seconds for (seconds, _, _) in model.requests] == [[20.0], [10.0], [10.0]]
    assert (len(result.segments) > 0, result.untranscribed) == (True, [])


def test_silence_is_no_speech_without_text() -> None:
    # Given three sentences far apart in which nothing is found
    model = ScriptedModel([[Text([], "en", -0.2, 0.1)], [], []])
    result = text_of(model, window((0.0, 2.0), (40.0, 41.5), (80.0, 82.0)))
    # Then the silence between them is not in what has no text
    assert sum(interval.end - interval.start for interval in result.untranscribed) == pytest.approx(5.5)


def test_options_that_the_model_cannot_follow_are_refused() -> None:
    # Given a model that does not know a language, when a task names it
    model = ScriptedModel([])
    with pytest.raises(PermanentError) as caught:
        run(model, window((0, 2)), options=TranscribeOptions(language="xx"))

    # Then the message is at fault, and nothing was transcribed
    assert caught.value is UNKNOWN
    assert model.requests == []


def test_the_audio_of_a_window_arrives_as_it_was() -> None:
    # Given samples of every loudness, of which some are too loud
    samples = np.linspace(-1.5, 1.5, 100, dtype=np.float32)
    # When they are packed for the way and unpacked
    arrived = unpack(pack(samples))
    # Then they are the same to the nearest step, and the rest is clipped
    assert np.abs(arrived - np.clip(samples, -1, 32767 / 32768)).max() <= 0.5 / 32768
    # And packing them again changes nothing
    assert pack(arrived) == pack(samples)


def test_words_of_the_context_are_left_out() -> None:
    # Given an utterance from 20 to 24 s with four seconds before it as context, of which the model writes both
    model = ScriptedModel([[words_at(1, 4), words_at(7)]])
    with_context = Window(regions=[(10.0, 14.0), (20.0, 24.0)], samples=window((0, 8)).samples, context=1)
    # When it is transcribed
    (text,) = run(model, with_context).texts
    # Then its text is that of the utterance alone
    assert [word.start for segment in text.segments for word in segment.words or ()] == [20.0, 23.0]
    assert all(interval.start >= 20 for interval in text.untranscribed)


def test_words_are_moved_to_speech_whatever_the_order_of_their_texts() -> None:
    # Given a window of two regions with two sounds each, the text of whose first region was found last,
    samples = np.zeros(4 * SAMPLE_RATE, np.float32)
    spoken = [(0.4, 0.8), (1.1, 1.6), (2.4, 2.8), (3.1, 3.6)]
    for start, end in spoken:
        samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = tone(end - start)
    # and a word that the model starts in the region before its own
    later = Text([timed(1.3, 2.7), timed(2.7, 3.5)], "en", -0.2)
    earlier = Text([timed(0.2, 0.7), timed(0.9, 1.4)], "en", -0.2)
    regions: list[Times] = [(10.0, 12.0), (20.0, 22.0)]

    # When the window is transcribed
    job = Transcribe(
        windows=[Window(regions=regions, samples=pack(samples))], options=TranscribeOptions(), previous=[None]
    )
    (text,) = transcribe(ScriptedModel([[later, earlier]]), job).texts

    # Then each word is where its sound is
    words = sorted((word.start, word.end) for segment in text.segments for word in segment.words or ())
    assert words == [(10.4, 10.8), (11.1, 11.6), (20.4, 20.8), (21.1, 21.6)]


def timed(start: float, end: float) -> Word:
    return Word(start=start, end=end, word=" word", probability=0.9)
