"""The settings are those of the contract, read from the environment and `.env`."""

from pathlib import Path

import pytest

from app.settings import Settings

ROOT = Path(__file__).parents[2]
DEFAULTS = {
    "NATS_URL": "nats://localhost:4222",
    "NATS_STREAM_NAME": "transcription_tasks",
    "NATS_CONSUMER_NAME": "transcription_worker",
    "NATS_MAX_MSGS_PER_SUBJECT": 10_000,
    "NATS_REPLICAS": 1,
    "PRIORITY_LOOKAHEAD": 1,
    "REDIS_URL": "redis://localhost:6379/0",
    "TASK_TIMEOUT": 3600,
    "TASK_MAX_RETRIES": 3,
    "TASK_RETRY_DELAY": 30,
    "TASK_ACK_WAIT": 15,
    "TASK_HEARTBEAT": 5,
    "TASK_GRACE": 10,
    "LIVE_STREAMS": 0,
    "LIVE_TTL": 24 * 3600,
    "LIVE_MAX_BYTES": 0,
    "AUDIO_STORE": "nats://audio",
    "AWS_ACCESS_KEY_ID": None,
    "AWS_SECRET_ACCESS_KEY": None,
    "AWS_REGION": None,
    "AWS_ENDPOINT_URL": None,
    "AUDIO_TTL": 30 * 24 * 3600,
    "AUDIO_MAX_BYTES": 4 * 1024**3,
    "AUDIO_MAX_SECONDS": 24 * 3600,
    "AUDIO_MAX_DECODE_SECONDS": 600,
    "DIARIZATION_MAX_SECONDS": 4 * 3600,
    "VOICE_THRESHOLD": 0.6,
    "VOICE_MARGIN": 0.1,
    "CACHE_TTL": 7 * 24 * 3600,
    "ENGINE_DEVICE": "auto",
    "ENGINE_COMPUTE_TYPE": None,
    "ENGINE_THREADS": 1,
    "ENGINE_PARALLEL": 0,
    "ENGINE_BEAM": 5,
    "ENGINE_BATCH": 4,
    "SHARE_WINDOWS": "auto",
    "TRANSCRIPTION_MODEL": None,
    "TRANSCRIPTION_MODELS": (),
    "TRANSCRIPTION_MODELS_DIR": None,
    "LOG_LEVEL": "INFO",
    "OTEL_EXPORTER_OTLP_ENDPOINT": None,
}


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = Settings(_env_file=None)
    assert {name: getattr(settings, name.lower()) for name in DEFAULTS} == DEFAULTS


def test_the_example_lists_every_setting_with_its_default() -> None:
    # Given the example, with what is commented out counted too
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    listed = {line.lstrip("# ").partition("=")[0] for line in example.splitlines() if "=" in line}
    # Then it names each setting
    assert listed == {name.upper() for name in Settings.model_fields}
    # And as it stands it changes nothing
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
