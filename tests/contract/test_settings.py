"""The settings are those of the contract, read from the environment and `.env`."""

from pathlib import Path

import pytest

from app.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_example_lists_every_setting_with_its_default() -> None:
    # Given the example, with what is commented out counted too
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    listed = {line.lstrip("# ").partition("=")[0] for line in example.splitlines() if "=" in line}
    # Then it names each setting
    assert listed == {name.upper() for name in Settings.model_fields}
    # And unchanged it sets only defaults
    assert Settings(_env_file=ROOT / ".env.example") == Settings(_env_file=None)


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text("TASK_TIMEOUT=1\nNATS_USER=Юля\n", encoding="utf-8")
    monkeypatch.setenv("TASK_TIMEOUT", "2")
    settings = Settings(_env_file=file)
    assert (settings.task_timeout, settings.nats_user) == (2, "Юля")


def test_the_models_that_tasks_may_name_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSCRIPTION_MODELS", "large-v3, t-tech/t-one,")
    assert Settings(_env_file=None).transcription_models == ("large-v3", "t-tech/t-one")


def test_the_stem_of_the_stream_names_the_others() -> None:
    assert Settings(_env_file=None, nats_stream_name="speech_tasks").stem == "speech"
    assert Settings(_env_file=None, nats_stream_name="speech").stem == "speech"
