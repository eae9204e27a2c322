from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.transcription import TranscribeOptions
from natscribe.schemas.wire import Model
from onnx_asr.adapters import TextResultsAsrAdapter, TimestampedResultsAsrAdapter
from onnx_asr.asr import TimestampedResult

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.audio.window_audio import WindowAudio
from app.engines.family import ComputeOptions
from app.engines.onnx import model as onnx_model
from app.engines.onnx.device import NoGpuError, load_on
from app.engines.onnx.model import OnnxModel, load
from app.engines.onnx.published import ModelFiles
from app.engines.parallel import Parallel
from app.engines.speech_model import ModelOutput
from app.runtime.errors import PermanentError

EUROPEAN = ("en", "ru")
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class CountingNetwork:
    """A network that writes how many seconds it was given, and remembers with which options."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[float], dict[str, Any]]] = []

    def recognize(self, waves: Samples | Sequence[Samples], **options: str) -> Any:
        clips = [waves] if isinstance(waves, np.ndarray) else list(waves)
        self.calls.append(([len(wave) / SAMPLE_RATE for wave in clips], options))
        results = [TimestampedResult("", [0.0], [f" {len(wave)}"], [0.0]) for wave in clips]
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


def clip(seconds: float) -> WindowAudio:
    return WindowAudio(np.zeros(round(seconds * SAMPLE_RATE), np.float32), [(0.0, seconds)])


def written(outputs: Sequence[ModelOutput]) -> list[str]:
    return [word.word for output in outputs for text in output.texts for word in text.words]


@pytest.mark.parametrize(
    ("architecture", "languages", "options", "refusal"),
    [
        ("nemo-conformer-tdt", EUROPEAN, {"language": "ja"}, "does not know 'ja': it knows en, ru"),
        ("nemo-conformer-aed", EUROPEAN, {"language": None}, "name it in `language`"),
        ("nemo-conformer-tdt", EUROPEAN, {"translate": True}, "cannot translate"),
        ("nemo-conformer-tdt", EUROPEAN, {"vocabulary": ("Natscribe",)}, "no `vocabulary` and no `prompt`"),
        ("nemo-conformer-tdt", EUROPEAN, {"prompt": "Hello."}, "no `vocabulary` and no `prompt`"),
        ("nemo-conformer-tdt", EUROPEAN, {}, None),
        ("nemo-conformer-tdt", EUROPEAN, {"language": "ru"}, None),
        ("nemo-conformer-ctc", (), {"language": "ja"}, None),  # its languages are not known
        ("nemo-conformer-aed", EUROPEAN, {"language": "ru", "translate": True}, None),
    ],
)
def test_what_a_model_cannot_do_is_refused(
    architecture: str, languages: tuple[str, ...], options: dict[str, Any], refusal: str | None
) -> None:
    # Given a model, when a task requests what it cannot do, then the error says what is allowed
    expected = nullcontext() if refusal is None else pytest.raises(PermanentError, match=refusal)
    with expected as caught:
        model(CountingNetwork(), architecture, languages).check(TranscribeOptions(**options))
    assert caught is None or caught.value.detail.code is ErrorCode.INVALID_MESSAGE


@pytest.mark.parametrize(
    ("languages", "language", "expected"), [(EUROPEAN, "ru", "ru"), (EUROPEAN, None, None), (("ru",), None, "ru")]
)
def test_the_reply_has_the_language_where_it_is_known(
    languages: tuple[str, ...], language: str | None, expected: str | None
) -> None:
    # Given a model of some languages, when it transcribes
    (output,) = model(CountingNetwork(), languages=languages).transcribe(
        [clip(1)], TranscribeOptions(language=language), [None]
    )

    # Then the text's language is the one requested, or the only one that it knows
    assert [text.language for text in output.texts] == [expected]
    assert (output.language, output.settled) == (expected, True)


@pytest.mark.parametrize(("translate", "target"), [(False, "ru"), (True, "en")])
def test_canary_is_given_the_spoken_language_and_the_one_to_write(target: str, *, translate: bool) -> None:
    # Given Canary, when it transcribes or translates Russian
    network = CountingNetwork()
    options = TranscribeOptions(language="ru", translate=translate)
    (output,) = model(network, "nemo-conformer-aed").transcribe([clip(1)], options, [None])

    # Then it is given both languages, and the text has the one that is spoken
    assert network.calls == [([1.0], {"language": "ru", "target_language": target})]
    assert [text.language for text in output.texts] == ["ru"]


@pytest.mark.parametrize(("batched", "batches"), [(False, [[1.0], [2.0]]), (True, [[1.0, 2.0]])], ids=["cpu", "gpu"])
def test_on_a_cpu_no_clip_changes_the_text_of_another(batches: list[list[float]], *, batched: bool) -> None:
    # Given clips, when they are transcribed
    network = CountingNetwork()
    outputs = model(network, batched=batched).transcribe([clip(1), clip(2)], TranscribeOptions(), [None, None])

    # Then a CPU has each alone, as when a run is resumed in between, and a GPU has them at once
    assert [lengths for lengths, _ in network.calls] == batches
    assert written(outputs) == [" 16000", " 32000"]


def test_on_several_cores_clips_are_transcribed_at_the_same_time() -> None:
    # Given a network that replies only when two clips are with it
    both = Barrier(2)

    class ModelFiles(CountingNetwork):
        def recognize(self, waves: Samples | Sequence[Samples], **options: str) -> Any:
            both.wait(10)
            return super().recognize(waves, **options)

    # When four clips are transcribed, two at the same time, then each has its own text
    clips = [clip(seconds) for seconds in (1, 2, 3, 4)]
    outputs = model(ModelFiles(), at_once=2).transcribe(clips, TranscribeOptions(), [None] * 4)
    assert written(outputs) == [" 16000", " 32000", " 48000", " 64000"]


def test_a_very_short_clip_gets_silence_behind_it() -> None:
    # Given a click, when it is transcribed
    network = CountingNetwork()
    (output,) = model(network).transcribe([clip(0.01)], TranscribeOptions(), [None])

    # Then there is enough audio for features, and no word outlasts the clip
    assert network.calls[0][0] == [0.5]
    assert output.texts[0].words[0].end <= 0.01


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_error_for_a_model_that_cannot_be_loaded_has_a_next_step(tmp_path: Path, device: str) -> None:
    # Given a network that is none
    (tmp_path / "model.onnx").write_bytes(b"damaged")
    (tmp_path / "vocab.txt").write_text("<blk> 0\n")
    (tmp_path / "config.json").write_text('{"model_type": "nemo-conformer-ctc"}')
    network = ModelFiles("nemo-conformer-ctc", None, (), ())

    # When it is loaded
    with pytest.raises(PermanentError, match="damaged or of another kind") as caught:
        load(tmp_path, Model(name="ours", revision="1"), network, ComputeOptions(device))

    # Then it is no model that the service has
    assert caught.value.detail.code is ErrorCode.UNKNOWN_MODEL


class Session:
    """A network of a model: whether ONNX Runtime could give it to the GPU, if requested."""

    def __init__(self, fits: str, providers: Sequence[str]) -> None:
        self.providers = [name for name in providers if name == CPU or fits == "gpu"]

    def get_providers(self) -> Sequence[str]:
        return self.providers


class Machine:
    """A machine with ONNX Runtime for GPUs, on which models are read; each network of a model fits gpu or cpu."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *networks: str, built_with: Sequence[str] = (CUDA, CPU)
    ) -> None:
        monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(built_with))
        self.networks = networks
        self.providers: list[Sequence[str]] = []

    def read(self, providers: Sequence[str]) -> TextResultsAsrAdapter:
        self.providers.append(providers)
        if "broken" in self.networks and CUDA in providers:
            raise OSError
        sessions = {f"network {number}": Session(fits, providers) for number, fits in enumerate(self.networks)}
        return cast("TextResultsAsrAdapter", SimpleNamespace(asr=SimpleNamespace(**sessions)))


@pytest.mark.parametrize(
    ("device", "networks", "built_with", "providers"),
    [
        ("auto", ("gpu", "gpu"), [CUDA, CPU], [[CUDA, CPU]]),
        ("cuda", ("gpu", "gpu"), [CUDA, CPU], [[CUDA, CPU]]),
        ("auto", ("cpu", "cpu"), [CUDA, CPU], [[CUDA, CPU], [CPU]]),  # there is no GPU
        ("auto", ("gpu", "cpu"), [CUDA, CPU], [[CUDA, CPU], [CPU]]),  # only a part of the model fits
        ("auto", ("broken",), [CUDA, CPU], [[CUDA, CPU], [CPU]]),  # it cannot be used at all
        ("cpu", ("gpu",), [CUDA, CPU], [[CPU]]),  # it is not wanted
        ("auto", ("gpu",), [CPU], [[CPU]]),  # ONNX Runtime was not built for it
    ],
)
def test_a_gpu_is_used_if_the_whole_model_runs_on_it(
    monkeypatch: pytest.MonkeyPatch, device: str, networks: list[str], built_with: list[str], providers: list[list[str]]
) -> None:
    # Given a machine, when a model is loaded, then it is read for a GPU only with reason, and else for the CPU
    machine = Machine(monkeypatch, *networks, built_with=built_with)
    model, on_gpu = load_on(device, machine.read)
    assert machine.providers == providers
    assert on_gpu is (CUDA in providers[-1])
    assert all(session.get_providers() == providers[-1] for session in vars(model.asr).values())


@pytest.mark.parametrize("networks", [("cpu", "cpu"), ("gpu", "cpu")])
def test_a_model_that_must_be_on_the_gpu_is_not_loaded_elsewhere(
    monkeypatch: pytest.MonkeyPatch, networks: Sequence[str]
) -> None:
    # Given a machine without a GPU, or one that a part fits, when a model must be on it, then that fails
    machine = Machine(monkeypatch, *networks)
    with pytest.raises(NoGpuError):
        load_on("cuda", machine.read)
    assert machine.providers == [[CUDA, CPU]]


@pytest.mark.parametrize(("on_gpu", "count"), [(True, 1), (False, 4)])
def test_on_a_gpu_one_clip_is_transcribed_at_a_time(monkeypatch: pytest.MonkeyPatch, on_gpu: bool, count: int) -> None:
    # Given a model that a GPU has, or the CPU
    adapter = SimpleNamespace(with_timestamps=CountingNetwork)
    monkeypatch.setattr(onnx_model, "load_on", lambda *_: (adapter, on_gpu))
    # When it is loaded for four windows at once, then only the CPU has four threads: a GPU gets batches
    network = ModelFiles("nemo-conformer-tdt", None, EUROPEAN, ())
    loaded = load(Path("ours"), Model(name="ours", revision="1"), network, ComputeOptions(at_once=4))
    assert (loaded.parallel.count, loaded.batched) == (count, on_gpu)
