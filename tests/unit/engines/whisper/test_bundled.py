import os
import subprocess
import sys
from hashlib import file_digest
from pathlib import Path

import pytest

from app.engines.whisper import bundled

JOIN = "from app.engines.whisper import bundled; print(bundled.folder())"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "natscribe"


def test_several_processes_may_join_the_model_at_once(cache: Path) -> None:
    # Given an empty cache, when three processes request the model at once
    starts = [
        subprocess.Popen([sys.executable, "-c", JOIN], stdout=subprocess.PIPE, text=True, env=os.environ)
        for _ in range(3)
    ]
    folders = {process.communicate()[0].strip() for process in starts}

    # Then all get the same whole model, and nothing else is left in the cache
    assert folders == {str(cache / "whisper-base-d01c3014881c")}
    assert [path.name for path in cache.iterdir()] == ["whisper-base-d01c3014881c"]
    with (Path(folders.pop()) / "model.bin").open("rb") as weights:
        assert file_digest(weights, "sha256").hexdigest() == bundled.SHA256


def test_an_incomplete_model_is_joined_again(cache: Path) -> None:
    # Given what an interrupted copy left
    half = cache / "whisper-base-d01c3014881c"
    half.mkdir(parents=True)
    (half / "model.bin").write_bytes(b"half")

    # When the model is requested, then it is whole
    assert (bundled.folder() / "model.bin").stat().st_size == bundled.SIZE_BYTES


def test_damaged_weights_are_never_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given packages whose weights have another hash than expected
    monkeypatch.setattr(bundled, "SHA256", "0" * 64)

    # When the model is requested, then it is refused, and nothing is left behind
    with pytest.raises(ValueError, match="damaged"):
        bundled.folder()
    assert list(cache.iterdir()) == []
