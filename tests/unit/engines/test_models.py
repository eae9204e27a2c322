import os
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import huggingface_hub
import onnx_asr.loader
import pytest
from faster_whisper.utils import available_models
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.wire import Model

from app.engines.family import ComputeOptions, LocalModel, identity_of
from app.engines.models import FAMILIES, ModelCatalog
from app.engines.speech_model import SpeechModel
from app.engines.whisper import bundled
from app.engines.whisper import family as whisper
from app.runtime.errors import PermanentError
from tests.unit.engines.setups import setup

ONNX_FILES = ("model.onnx", "vocab.txt", "config.json")
ONNX_TEXT = '{"model_type": "nemo-conformer-ctc"}'
HASHES = 3 * sha256(ONNX_TEXT.encode()).hexdigest().encode()
FILES = ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt")


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    make_model(folder / "meetings")
    return folder


def make_model(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_bytes(b"weights")


def make_onnx_model(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in ONNX_FILES:
        (folder / name).write_text(ONNX_TEXT)


class Hub:
    """The cache of the hub of models: a folder, and what to do when a download is requested."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path | None = None) -> None:
        self.folder = folder  # none: nothing is cached
        self.requests: list[tuple[str, bool]] = []  # the names, and whether only the cache was used
        self.download: Callable[[], object] = self.unreachable
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.snapshot)

    def unreachable(self) -> None:
        raise ConnectionError

    def snapshot(self, repo: str, *, local_files_only: bool, **_: object) -> str:
        self.requests.append((repo, local_files_only))
        if not local_files_only:
            self.download()
        if self.folder is None:
            raise ConnectionError
        return str(self.folder)


def catalog(
    default: str | None, folder: Path | None, compute_type: str | None = None, offered: tuple[str, ...] = ()
) -> ModelCatalog:
    models = {"transcription_model": default, "transcription_models_dir": folder, "transcription_models": offered}
    return ModelCatalog(setup(engine_compute_type=compute_type, **models))


def offering(name: str) -> ModelCatalog:
    return catalog(None, None, offered=(name,))


def refusal(models: ModelCatalog, name: str | None) -> PermanentError:
    with pytest.raises(PermanentError) as caught:
        models.find(name)
    assert caught.value.detail.code is ErrorCode.UNKNOWN_MODEL
    return caught.value


@pytest.mark.parametrize(("name", "hashed"), [("meetings", b"weights"), ("calls", HASHES)], ids=["whisper", "onnx"])
def test_a_folder_of_the_services_models_is_found_by_name(models_dir: Path, name: str, hashed: bytes) -> None:
    # Given a folder with a model of either library, when a task names it
    make_onnx_model(models_dir / "calls")
    model = catalog(None, models_dir).find(name)

    # Then it is found, and known by the hash of its weights, or of all files that onnx-asr reads
    assert model.folder == models_dir / name
    assert (model.identity.name, model.identity.revision) == (name, sha256(hashed).hexdigest()[:12])


def test_the_operators_default_may_be_any_folder(tmp_path: Path) -> None:
    # Given a model outside of the service's models, named by the operator
    make_model(tmp_path / "elsewhere")
    models = catalog(str(tmp_path / "elsewhere"), None)

    # When a task names no model, then that one is meant
    assert models.find(None).identity.name == "elsewhere"
    # And the message to a task that names one that is not offered has no path
    assert str(tmp_path) not in str(refusal(models, "large-v3"))


@pytest.mark.parametrize("name", ["../elsewhere", "..", ".", "/etc", "meetings/..", "a/b", "nothing", "a\0b", "link"])
def test_a_task_cannot_name_a_folder_outside(models_dir: Path, tmp_path: Path, name: str) -> None:
    # Given a model beside the service's models, and a link to it among them
    make_model(tmp_path / "elsewhere")
    (models_dir / "link").symlink_to(tmp_path / "elsewhere")

    # When a task names a path, then it is refused
    refusal(catalog(None, models_dir), name)


@pytest.mark.parametrize(("name", "missing"), [("meetings", "tokenizer.json"), ("calls", "vocab.txt")])
def test_the_error_for_an_incomplete_model_says_what_is_missing(models_dir: Path, name: str, missing: str) -> None:
    # Given a model of either library without its tokenizer or vocabulary
    make_onnx_model(models_dir / "calls")
    (models_dir / name / missing).unlink()

    # When a task names it, then the message says so, and shows no path
    message = str(refusal(catalog(None, models_dir), name))
    assert missing in message
    assert str(models_dir) not in message


def test_the_error_for_an_unavailable_published_model_has_a_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a machine without a way to the hub, when a task names a published size, then the error says how to get on
    Hub(monkeypatch)
    assert "TRANSCRIPTION_MODELS_DIR" in str(refusal(offering("large-v3"), "large-v3"))


@pytest.mark.parametrize("name", ["large-v3", "gigaam-v3-ctc", "no-such-model"])
def test_a_model_that_is_not_offered_is_not_downloaded(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # Given a service that offers one published model, beside its own and a folder
    hub = Hub(monkeypatch)

    # When a task names another one
    message = str(refusal(catalog("small", models_dir, None, ("t-tech/t-one",)), name))

    # Then the message names the models for the publisher, and the setting for the operator
    assert "name one of meetings, small, t-tech/t-one, whisper-base;" in message
    assert "TRANSCRIPTION_MODELS" in message
    assert hub.requests == []


@pytest.mark.parametrize("name", ["whisper-base", "base", "meetings", "small", "tiny"])
def test_a_task_may_name_what_the_service_has_or_offers(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # Given a service with a model of its own, a folder, and a published model that it offers
    Hub(monkeypatch, models_dir / "meetings")

    # When a task names any of them, then it is found
    model = catalog("small", models_dir, None, ("tiny",)).find(name)
    assert model.identity.name == {"base": "whisper-base"}.get(name, name)


def test_a_cached_published_model_needs_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Given a model in the hub's cache, whose large files are named by their hash
    make_model(tmp_path / "snapshot")
    (tmp_path / "snapshot" / "model.bin").rename(tmp_path / ("ab" * 32))
    (tmp_path / "snapshot" / "model.bin").symlink_to(tmp_path / ("ab" * 32))
    hub = Hub(monkeypatch, tmp_path / "snapshot")

    # When a task names it
    model = offering("large-v3").find("large-v3")

    # Then only the cache was called, and the hash was read from the name
    ((repo, local_files_only),) = hub.requests
    assert "large-v3" in repo
    assert local_files_only
    assert model.identity.revision == "abababababab"


def test_a_download_that_was_interrupted_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Given a published model that is half in the hub's cache
    make_model(tmp_path / "snapshot")
    weights = tmp_path / "snapshot" / "model.bin"
    weights.unlink()
    Hub(monkeypatch, tmp_path / "snapshot").download = lambda: weights.write_bytes(b"weights")

    # When a task names it, then the rest is downloaded
    assert offering("large-v3").find("large-v3").identity.revision == sha256(b"weights").hexdigest()[:12]


@pytest.mark.parametrize("changed", ONNX_FILES)
def test_another_file_is_another_revision(models_dir: Path, changed: str) -> None:
    # Given a model of onnx-asr
    make_onnx_model(models_dir / "calls")
    before = catalog(None, models_dir).find("calls").identity

    # When one of its files changes, then so does its revision, and no earlier value is reused
    with (models_dir / "calls" / changed).open("a") as file:
        file.write("\n")
    assert catalog(None, models_dir).find("calls").identity != before


def test_the_error_for_a_folder_of_unknown_kind_says_what_is_needed(models_dir: Path) -> None:
    # Given a folder with neither family's files
    (models_dir / "empty").mkdir()

    # When a task names it, then the message says what either needs
    message = str(refusal(catalog(None, models_dir), "empty"))
    assert "model.bin, config.json, tokenizer.json, vocabulary.*" in message
    assert "model_type" in message


@pytest.mark.parametrize("name", ["nemo-parakeet-tdt-0.6b-v3", "t-tech/t-one", "calls"])
def test_without_the_extra_the_error_says_how_to_install_it(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # Given a service without the extra
    make_onnx_model(models_dir / "calls")
    monkeypatch.setitem(sys.modules, "onnx_asr", None)

    # When a task names a model of onnx-asr, published or a folder, then the error says what the operator has to do
    assert "pip install ./clients/python '.[onnx]'" in str(refusal(catalog(None, models_dir, None, (name,)), name))


def test_the_error_for_an_unavailable_onnx_model_has_a_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a machine without a way to the hub
    attempts: list[tuple[str | None, bool]] = []

    class Resolver:
        def __init__(self, name: str, *, offline: bool) -> None:
            self.name, self.offline = name, offline

        def resolve_model(self, *, quantization: str | None) -> dict[str, Path]:
            attempts.append((quantization, self.offline))
            raise ConnectionError(self.name)

    monkeypatch.setattr(onnx_asr.loader, "create_asr_resolver", Resolver)

    # When a task names a published model
    message = str(refusal(catalog(None, None, "int8", ("gigaam-v3-ctc",)), "gigaam-v3-ctc"))

    # Then the error says how to get on, and the hub was called only for what no cache has
    assert "TRANSCRIPTION_MODELS_DIR" in message
    assert attempts == [("int8", True), (None, True), ("fp16", True), ("int8", False), (None, False)]


@pytest.mark.parametrize("name", ["nemo-parakeet-tdt-0.6b-v3", "calls"])
def test_an_unknown_precision_is_refused_before_anything_is_downloaded(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # Given a service whose operator requests a precision that there is not
    hub = Hub(monkeypatch)
    make_onnx_model(models_dir / "calls")

    # When a task names a model of onnx-asr, then the message has the setting and what it may be
    message = str(refusal(catalog(None, models_dir, "int7", (name,)), name))
    assert "ENGINE_COMPUTE_TYPE=int7" in message
    assert {"int8", "float16", "float32"} <= set(message.rstrip(".").partition("takes ")[2].split(", "))
    assert hub.requests == []


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("gigaam-v3-e2e-ctc", ("v3_e2e_ctc.onnx", "v3_e2e_ctc_vocab.txt", "config.json")),
        (
            "alphacep/vosk-model-small-ru",
            ("am/encoder.onnx", "am/decoder.onnx", "am/joiner.onnx", "am/tokens.txt"),
        ),
    ],
)
def test_a_cached_published_onnx_model_needs_no_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, files: tuple[str, ...]
) -> None:
    # Given a published model in the hub's cache
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("{}")

    hub = Hub(monkeypatch, tmp_path)

    # When a task names it, then only the cache is called
    assert offering(name).find(name).folder == tmp_path
    assert all(local_files_only for _, local_files_only in hub.requests)


@pytest.mark.parametrize("name", ["no-such-model", None])
def test_a_name_that_nobody_publishes_is_not_known(name: str | None) -> None:
    # Given a model that the operator has named, or offered, with a typing error
    message = str(refusal(catalog("no-such-model", None), name))

    # Then the message has a name of each family that would be known
    assert "such as 'large-v3' or 'nemo-parakeet-tdt-0.6b-v3', or a folder" in message


def test_the_bundled_model_is_found_without_reading_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a cache with a bundled model of other weights in a file of the right size, which is not verified again
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    make_model(bundled.home())
    os.truncate(bundled.home() / "model.bin", bundled.SIZE_BYTES)

    # When it is requested by any of its names
    identities = {catalog(None, None).find(name).identity for name in (None, *bundled.NAMES)}

    # Then it is known by the one name, and by the hash of its weights
    assert identities == {Model(name="whisper-base", revision=bundled.SHA256[:12])}


def test_the_library_publishes_what_we_name() -> None:
    # Given the names that faster-whisper knows, then they are ours
    assert set(available_models()) == whisper.PUBLISHED


class OneFolder:
    """A third family: it publishes one model, and recognises its folder by a file."""

    EXAMPLE = "third"
    NEEDED = "third.weights (a third library)"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def publishes(self, name: str) -> bool:
        return name == "third"

    def fetch(self, _name: str, _compute_type: str | None) -> Path:
        return self.folder

    def detect(self, folder: Path, name: str, _compute_type: str | None) -> LocalModel | None:
        file = folder / "third.weights"
        return LocalModel(folder, identity_of(name, [file]), self.load) if file.exists() else None

    def load(self, computing: ComputeOptions) -> SpeechModel:
        raise NotImplementedError


def test_another_family_needs_only_to_be_listed(models_dir: Path) -> None:
    # Given one more family, and a folder of its files
    (models_dir / "own").mkdir()
    (models_dir / "own" / "third.weights").write_bytes(b"weights")
    (models_dir / "empty").mkdir()
    families = [*FAMILIES, OneFolder(models_dir / "own")]
    models = replace(catalog(None, models_dir, offered=("third",)), families=families)

    # When tasks name its folder, or its published model, then they are found
    assert [models.find(name).identity.name for name in ("own", "third")] == ["own", "third"]
    assert models.find("third").folder == models_dir / "own"

    # And the error for another name mentions it
    assert "or third.weights (a third library)" in str(refusal(models, "empty"))
