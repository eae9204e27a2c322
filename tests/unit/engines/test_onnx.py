from collections.abc import Sequence
from pathlib import Path
from threading import Barrier
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.transcription import TranscribeOptions
from natscribe.schemas.wire import Model
from onnx_asr.adapters import TimestampedResultsAsrAdapter
from onnx_asr.asr import TimestampedResult

from app.engines.audio.clips import Clip
from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.models import Weights
from app.engines.onnx import model as onnx
from app.engines.onnx.model import OnnxModel
from app.engines.onnx.published import Network
from app.engines.parallel import Parallel
from app.engines.speech_model import Answer
from app.errors import PermanentError

EUROPEAN = ("en", "ru")


class CountingNetwork:
    """A network that writes how many seconds it was given, and remembers with which options."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[float], dict[str, Any]]] = []

    def recognize(self, waves: Samples | Sequence[Samples], **options: str) -> Any:
        given = [waves] if isinstance(waves, np.ndarray) else list(waves)
        self.asked.append(([len(wave) / SAMPLE_RATE for wave in given], options))
        results = [TimestampedResult("", [0.0], [f" {len(wave)}"], [0.0]) for wave in given]
        return results[0] if isinstance(waves, np.ndarray) else results


def model(
    network: CountingNetwork,
    architecture: str = "nemo-conformer-tdt",
    languages: tuple[str, ...] = EUROPEAN,
    *,
    at_once: int = 1,
    batched: bool = False,
) -> OnnxModel:
    adapter = cast("TimestampedResultsAsrAdapter", network)
    return OnnxModel(
        Model(name="ours", revision="1"), "cpu", architecture, languages, adapter, Parallel(at_once), batched
    )


def clip(seconds: float) -> Clip:
    return Clip(np.zeros(round(seconds * SAMPLE_RATE), np.float32), [(0.0, seconds)])


def written(answers: Sequence[Answer]) -> list[str]:
    return [word.word for answer in answers for text in answer.texts for word in text.words]


@pytest.mark.parametrize(
    ("architecture", "languages", "asked", "answer"),
    [
        ("nemo-conformer-tdt", EUROPEAN, {"language": "ja"}, "does not know 'ja': it knows en, ru"),
        ("nemo-conformer-aed", EUROPEAN, {"language": None}, "name it in `language`"),
        ("nemo-conformer-tdt", EUROPEAN, {"translate": True}, "cannot translate"),
        ("nemo-conformer-tdt", EUROPEAN, {"vocabulary": ("Natscribe",)}, "no `vocabulary` and no `prompt`"),
        ("nemo-conformer-tdt", EUROPEAN, {"prompt": "Hello."}, "no `vocabulary` and no `prompt`"),
    ],
)
def test_what_a_model_cannot_do_is_refused(
    architecture: str, languages: tuple[str, ...], asked: dict[str, Any], answer: str
) -> None:
    # Given a model, when it is asked for what it cannot do
    with pytest.raises(PermanentError, match=answer) as caught:
        model(CountingNetwork(), architecture, languages).check(TranscribeOptions(**asked))

    # Then the client learns what is allowed
    assert caught.value.detail.code is ErrorCode.INVALID_MESSAGE


@pytest.mark.parametrize(
    ("architecture", "languages", "language", "translate"),
    [
        ("nemo-conformer-tdt", EUROPEAN, None, False),
        ("nemo-conformer-tdt", EUROPEAN, "ru", False),
        ("nemo-conformer-ctc", (), "ja", False),  # its languages are not known
        ("nemo-conformer-aed", EUROPEAN, "ru", True),
    ],
)
def test_what_a_model_can_do_is_not_refused(
    architecture: str, languages: tuple[str, ...], language: str | None, *, translate: bool
) -> None:
    # Given a model, when it is asked for what it can do, then nothing is said against it
    model(CountingNetwork(), architecture, languages).check(TranscribeOptions(language=language, translate=translate))


@pytest.mark.parametrize(
    ("languages", "asked", "expected"), [(EUROPEAN, "ru", "ru"), (EUROPEAN, None, None), (("ru",), None, "ru")]
)
def test_the_answer_has_the_language_where_it_is_known(
    languages: tuple[str, ...], asked: str | None, expected: str | None
) -> None:
    # Given a model of some languages, when it transcribes
    (answer,) = model(CountingNetwork(), languages=languages).transcribe(
        [clip(1)], TranscribeOptions(language=asked), [None]
    )

    # Then the text's language is the one asked for, or the only one that it knows
    assert [text.language for text in answer.texts] == [expected]
    assert (answer.language, answer.settled) == (expected, True)


@pytest.mark.parametrize(("translate", "target"), [(False, "ru"), (True, "en")])
def test_canary_is_given_the_spoken_language_and_the_one_to_write(target: str, *, translate: bool) -> None:
    # Given Canary, when it transcribes or translates Russian
    network = CountingNetwork()
    options = TranscribeOptions(language="ru", translate=translate)
    (answer,) = model(network, "nemo-conformer-aed").transcribe([clip(1)], options, [None])

    # Then it is given both languages, and the text has the one that is spoken
    assert network.asked == [([1.0], {"language": "ru", "target_language": target})]
    assert [text.language for text in answer.texts] == ["ru"]


def test_on_a_cpu_no_clip_changes_the_text_of_another() -> None:
    # Given clips, when they are transcribed on a CPU
    network = CountingNetwork()
    answers = model(network).transcribe([clip(1), clip(2)], TranscribeOptions(), [None, None])

    # Then each is transcribed alone, as it is when a run is resumed in between
    assert [lengths for lengths, _ in network.asked] == [[1.0], [2.0]]
    assert written(answers) == [" 16000", " 32000"]


def test_on_several_cores_clips_are_transcribed_at_the_same_time() -> None:
    # Given a network that answers only when two clips are with it
    both = Barrier(2)

    class Network(CountingNetwork):
        def recognize(self, waves: Samples | Sequence[Samples], **options: str) -> Any:
            both.wait(10)
            return super().recognize(waves, **options)

    # When four clips are transcribed, two at the same time, then each has its own text
    clips = [clip(seconds) for seconds in (1, 2, 3, 4)]
    answers = model(Network(), at_once=2).transcribe(clips, TranscribeOptions(), [None] * 4)
    assert written(answers) == [" 16000", " 32000", " 48000", " 64000"]


def test_on_a_gpu_clips_are_transcribed_together() -> None:
    # Given clips, when they are transcribed on a GPU, then it has them at once
    network = CountingNetwork()
    answers = model(network, batched=True).transcribe([clip(1), clip(2)], TranscribeOptions(), [None, None])
    assert [lengths for lengths, _ in network.asked] == [[1.0, 2.0]]
    assert written(answers) == [" 16000", " 32000"]


def test_a_very_short_clip_gets_silence_behind_it() -> None:
    # Given a click, when it is transcribed
    network = CountingNetwork()
    (answer,) = model(network).transcribe([clip(0.01)], TranscribeOptions(), [None])

    # Then there is enough sound for features, and no word outlasts the clip
    assert network.asked[0][0] == [0.5]
    assert answer.texts[0].words[0].end <= 0.01


@pytest.mark.parametrize(("device", "content"), [("cpu", b"damaged"), ("cuda", b"damaged")])
def test_a_model_that_cannot_be_loaded_says_what_to_do(tmp_path: Path, device: str, content: bytes) -> None:
    # Given a network that is none
    (tmp_path / "model.onnx").write_bytes(content)
    (tmp_path / "vocab.txt").write_text("<blk> 0\n")
    (tmp_path / "config.json").write_text('{"model_type": "nemo-conformer-ctc"}')
    network = Network("nemo-conformer-ctc", None, (), ())

    # When it is loaded
    with pytest.raises(PermanentError, match="damaged or of another kind") as caught:
        onnx.load(Weights(tmp_path, Model(name="ours", revision="1"), network), device=device, threads=1, at_once=1)

    # Then it is no model that the service has
    assert caught.value.detail.code is ErrorCode.UNKNOWN_MODEL


def test_a_network_that_fell_back_to_the_cpu_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given networks, one of which ONNX Runtime moved to the CPU without an error
    class Session:
        def __init__(self, *providers: str) -> None:
            self.providers = providers

        def get_providers(self) -> Sequence[str]:
            return self.providers

    class Asr:
        encoder = Session("CUDAExecutionProvider", "CPUExecutionProvider")

        def __init__(self, decoder: Session) -> None:
            self.encoder, self.decoder = Asr.encoder, decoder

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)

    # Then that is seen
    assert not onnx.all_on_gpu(Asr(Session("CPUExecutionProvider")))
    assert onnx.all_on_gpu(Asr(Session("CUDAExecutionProvider", "CPUExecutionProvider")))
