from hashlib import sha256
from pathlib import Path

import pytest

from app.engines import models
from app.engines.models import Models
from handlers.errors import PermanentError
from schemas.errors import ErrorCode

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


def refusal(known: Models, name: str) -> PermanentError:
    with pytest.raises(PermanentError) as caught:
        known.find(name)
    assert caught.value.detail.code is ErrorCode.UNKNOWN_MODEL
    return caught.value


def test_a_folder_of_the_services_models_is_found_by_name(models_dir: Path) -> None:
    # Given a folder with a model, when a task names it
    found = Models(None, models_dir).find("meetings")

    # Then it is found, and known by the hash of its weights
    assert found.folder == models_dir / "meetings"
    assert (found.identity.name, found.identity.revision) == ("meetings", sha256(b"weights").hexdigest()[:12])


def test_the_operators_default_may_be_any_folder(tmp_path: Path) -> None:
    # Given a model outside of the service's models, named by the operator
    make_model(tmp_path / "elsewhere")

    # When a task names no model, then that one is meant
    assert Models(str(tmp_path / "elsewhere"), None).find(None).identity.name == "elsewhere"


@pytest.mark.parametrize("name", ["../elsewhere", "..", ".", "/etc", "meetings/..", "a/b", "nothing", "a\0b"])
def test_a_task_cannot_name_a_folder_outside(models_dir: Path, tmp_path: Path, name: str) -> None:
    # Given a model beside the service's models
    make_model(tmp_path / "elsewhere")

    # When a task names a path, then it is refused
    refusal(Models(None, models_dir), name)


def test_a_link_out_of_the_folder_is_refused(models_dir: Path, tmp_path: Path) -> None:
    # Given a link among the service's models that leads out of it
    make_model(tmp_path / "elsewhere")
    (models_dir / "link").symlink_to(tmp_path / "elsewhere")

    # When a task names it, then it is refused
    refusal(Models(None, models_dir), "link")


def test_an_incomplete_model_says_what_is_missing(models_dir: Path) -> None:
    # Given a model without its tokenizer
    (models_dir / "meetings" / "tokenizer.json").unlink()

    # When a task names it, then the message says so, and shows no path
    message = str(refusal(Models(None, models_dir), "meetings"))
    assert "tokenizer.json" in message
    assert str(models_dir) not in message


def test_a_published_model_that_cannot_be_had_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a machine without a way to the hub
    def nothing(name: str, *, local_files_only: bool = False) -> str:
        raise ConnectionError(name, local_files_only)

    monkeypatch.setattr(models, "download_model", nothing)

    # When a task names a published size, then it is told how to get on
    assert "TRANSCRIPTION_MODELS_DIR" in str(refusal(Models(None, None), "large-v3"))


def test_a_cached_published_model_needs_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Given a model in the hub's cache, whose large files are named by their hash
    make_model(tmp_path / "snapshot")
    (tmp_path / "snapshot" / "model.bin").rename(tmp_path / ("ab" * 32))
    (tmp_path / "snapshot" / "model.bin").symlink_to(tmp_path / ("ab" * 32))
    asked: list[bool] = []

    def cached(name: str, *, local_files_only: bool = False) -> str:
        assert name == "large-v3"
        asked.append(local_files_only)
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(models, "download_model", cached)

    # When a task names it
    found = Models(None, None).find("large-v3")

    # Then only the cache was asked, and the hash was read from the name
    assert asked == [True]
    assert found.identity.revision == "abababababab"
