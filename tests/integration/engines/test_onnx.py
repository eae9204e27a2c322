"""Small networks by the library that runs the large ones (tests/networks/README.md)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from natscribe.schemas.transcription import TranscribeOptions

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.audio.window_audio import WindowAudio
from app.engines.family import ComputeOptions
from app.engines.models import ModelCatalog
from app.engines.onnx.model import OnnxModel
from app.engines.speech_model import Text
from tests.audio import CLIPS, load, silence, tone
from tests.unit.engines.setups import setup

NETWORKS = Path(__file__).parents[2] / "networks"
RUSSIAN = Path(__file__).parents[2] / "recordings" / "announcements" / "ru-agent-user.flac"
RECORDINGS = [*CLIPS, RUSSIAN]
SLIP = ("a more a amiable", "a more amiable")  # tests/recordings/README.md

# When whisper-base, which finds times by other means, has the words of two clips begin.
HIMSELF = {"might": 0.38, "even": 0.58, "have": 0.84, "been": 1.1, "made": 1.26, "amiable": 1.6, "himself": 2.12}
OPERATOR = {"оператора.": 0.76, "номер": 2.3, "и": 3.34, "нажмите": 3.56, "решетку.": 3.98}


def loaded(name: str, *, at_once: int = 1) -> OnnxModel:
    model = ModelCatalog(setup(transcription_models_dir=NETWORKS)).find(name).load(ComputeOptions(at_once=at_once))
    assert isinstance(model, OnnxModel)
    return model


@pytest.fixture(scope="module")
def reader() -> OnnxModel:
    return loaded("reader")


def reference_text(path: Path) -> str:
    return path.with_suffix(".txt").read_text(encoding="utf-8").strip().replace(*SLIP)


def transcribed(model: OnnxModel, samples: Samples) -> list[Text]:
    (output,) = model.transcribe([WindowAudio(samples, ())], TranscribeOptions(), [None])
    return output.texts


def written(texts: list[Text]) -> str:
    return "".join(word.word for text in texts for word in text.words)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
@pytest.mark.parametrize(("before", "after", "gain"), [(0.0, 0.0, 1.0), (0.4, 0.4, 0.5), (1.1, 0.37, 0.2)])
def test_a_clip_is_read_wherever_it_lies(
    reader: OnnxModel, path: Path, before: float, after: float, gain: float
) -> None:
    # Given a clip with silence around it, loud or soft
    samples = np.concatenate([silence(before), load(path) * np.float32(gain), silence(after)])

    # When it is transcribed
    (text,) = transcribed(reader, samples)

    # Then each word is right, with a blank before it, and the network is sure of it
    assert written([text]) == f" {reference_text(path)}"
    assert text.avg_logprob is not None
    assert -0.3 < text.avg_logprob <= 0
    assert text.no_speech_prob is None
    assert all(0.4 < word.probability <= 1 for word in text.words)


@pytest.mark.parametrize(
    ("path", "times", "tolerance"), [(CLIPS[-1], HIMSELF, 0.8), (RUSSIAN, OPERATOR, 0.4)], ids=["en", "ru"]
)
def test_words_have_their_times(reader: OnnxModel, path: Path, times: dict[str, float], tolerance: float) -> None:
    # Given a clip that begins after .7 s
    (text,) = transcribed(reader, np.concatenate([silence(0.7), load(path), silence(0.4)]))

    # When it is transcribed, then its words start about where those of another model do: the network reads 1.2 s
    # before and after a word, and was not taught where in them the word is
    start_of_word = {word.word.strip(): word.start - 0.7 for word in reversed(text.words)}
    late = {word: start_of_word[word] - start for word, start in times.items()}
    assert max(map(abs, late.values())) < tolerance, late

    # And none ends before it begins, or after the next one does
    ends = [word.end for word in text.words]
    starts = [word.start for word in text.words]
    assert all(start <= end for start, end in zip(starts, ends, strict=True))
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))


@pytest.mark.parametrize("at_once", [1, 3])
def test_clips_do_not_change_each_other(reader: OnnxModel, at_once: int) -> None:
    # Given clips, alone and together, one after the other and at the same time
    recordings = [load(path) for path in RECORDINGS]
    model = loaded("reader", at_once=at_once)
    assert model.parallel.count == at_once
    clips = [WindowAudio(samples, ()) for samples in recordings]
    together = model.transcribe(clips, TranscribeOptions(), [None] * len(clips))

    # When they are transcribed, then each has the same text, to the last figure
    assert [output.texts for output in together] == [transcribed(reader, samples) for samples in recordings]


@pytest.fixture(scope="module")
def tones() -> WindowAudio:
    """Three tones after 1, 2.5 and 4.5 s."""
    pieces = [silence(1), tone(0.5), silence(1), tone(0.5), silence(1.5), tone(0.5), silence(1)]
    return WindowAudio(np.concatenate(pieces), [(1.0, 1.5), (2.5, 3.0), (4.5, 5.0)])


@pytest.mark.parametrize(("name", "word"), [("gigaam-tones", "\u043e"), ("parakeet-tones", "tone")])
def test_other_layouts_return_words_and_times(tones: WindowAudio, name: str, word: str) -> None:
    # Given a network in the layout of GigaAM or of Parakeet's transducer, when it transcribes three tones
    (output,) = loaded(name).transcribe([tones], TranscribeOptions(), [None])
    (text,) = output.texts

    # Then it writes a word where each of them begins
    assert written([text]) == f" {word}" * 3
    assert [word.start for word in text.words] == pytest.approx([1.0, 2.5, 4.5], abs=0.09)
    assert all(0.9 < word.probability <= 1 for word in text.words)
    assert text.avg_logprob == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(
    ("language", "translate", "word"),
    [("en", False, "tone"), ("ru", False, "\u0442\u043e\u043d"), ("ru", True, "tone")],
)
def test_canary_writes_the_language_that_it_is_given(
    tones: WindowAudio, language: str, word: str, *, translate: bool
) -> None:
    # Given a network in the layout of Canary, when it is given the spoken language, and whether to translate
    options = TranscribeOptions(language=language, translate=translate)
    (output,) = loaded("canary-tones").transcribe([tones], options, [None])
    (text,) = output.texts

    # Then it writes each tone in the language to write, and which one was spoken
    assert written([text]) == f" {word}" * 3
    assert text.language == language

    # And its words, which have no times, lie in the speech, one a tone
    assert [word.start for word in text.words] == pytest.approx([1.0, 2.5, 4.5], abs=0.001)
    assert [word.end for word in text.words] == pytest.approx([1.5, 3.0, 5.0], abs=0.001)
    assert all(0.9 < word.probability <= 1 for word in text.words)


def test_clips_of_different_lengths_can_be_transcribed_together(tones: WindowAudio) -> None:
    # Given the way of a GPU, which has all clips at once
    model = replace(loaded("parakeet-tones"), batched=True)
    short = WindowAudio(tones.samples[: 2 * SAMPLE_RATE], tones.speech[:1])

    # When a short clip is transcribed beside a long one, then each has its own words
    outputs = model.transcribe([tones, short], TranscribeOptions(), [None, None])
    assert [written(output.texts) for output in outputs] == [" tone tone tone", " tone"]
