"""Settings: what is said of a wrong one."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from natscribe.settings import Settings as ClientSettings
from natscribe.settings import describe_invalid_setting, without_login
from pydantic import ValidationError

from app.settings import Settings


def test_the_error_for_a_setting_contains_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a password, and a heartbeat that is too slow
    monkeypatch.setenv("NATS_PASSWORD", "hunter2secret")
    monkeypatch.setenv("TASK_HEARTBEAT", "20")
    # When the settings are read
    with pytest.raises(ValidationError) as refused:
        Settings(_env_file=None)
    # Then it is said what is wrong, and nothing of the password
    assert "TASK_HEARTBEAT must be below TASK_ACK_WAIT" in str(refused.value)
    assert "hunter" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("TASK_TIMEOUT", "abc", "TASK_TIMEOUT is wrong: Input should be a valid number"),
        ("NATS_URL", "nats://localhost:99999", "NATS_URL is wrong: write SCHEME://HOST:PORT with a port up to 65535"),
        ("NATS_URL", "nats://a:4222,localhost", "NATS_URL is wrong: write nats://HOST:PORT, or tls:// with TLS"),
        ("NATS_URL", "nats://a:4222,", "NATS_URL is wrong: write nats://HOST:PORT, or tls:// with TLS"),
        ("NATS_URL", "nats://a:4222,nats://b:c", "NATS_URL is wrong: write SCHEME://HOST:PORT with a port"),
        ("NATS_STREAM_NAME", "a.b", "NATS_STREAM_NAME is wrong: "),
        ("NATS_REPLICAS", "2", "NATS_REPLICAS is wrong: write 1, 3 or 5"),
        ("REDIS_URL", "localhost", "REDIS_URL is wrong: write redis://HOST:PORT/DATABASE"),
        ("AUDIO_STORE", "/recordings", "AUDIO_STORE is wrong: write nats://BUCKET, file:///FOLDER, s3://"),
        ("VOICE_THRESHOLD", "nan", "VOICE_THRESHOLD is wrong: Input should be"),
        ("AWS_ENDPOINT_URL", "minio:9000", "AWS_ENDPOINT_URL is wrong: String should match"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL is wrong: Input should be 'debug', 'info'"),
        ("NATS_CREDS_FILE", "/nowhere/user.creds", "NATS_CREDS_FILE is wrong: Path does not point to a file"),
        ("NATS_TLS_CA_FILE", "/nowhere/ca.pem", "NATS_TLS_CA_FILE is wrong: Path does not point to a file"),
        ("TRANSCRIPTION_MODELS_DIR", "/nowhere", "TRANSCRIPTION_MODELS_DIR is wrong: Path does not point to a dir"),
    ],
)
def test_a_wrong_setting_ends_a_worker_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, what: str
) -> None:
    # Given a setting that cannot be
    if name.startswith("AWS_"):
        monkeypatch.setenv("AUDIO_STORE", "s3://recordings")
    monkeypatch.setenv(name, value)
    # When a worker reads it
    with pytest.raises(ValidationError) as refused:
        Settings()
    # Then its last words are what is wrong, under the name that it has in the environment
    assert what in describe_invalid_setting(refused.value)


def test_several_servers_are_separated_by_commas() -> None:
    # Given the servers of a cluster, one of them with a user and a password
    settings = Settings(_env_file=None, nats_url="nats://a:4222, nats://me:sec%2Cret@b:4223,tls://c")
    # When they are read
    # Then each is an address of its own
    assert settings.nats_servers == ["nats://a:4222", "nats://me:sec%2Cret@b:4223", "tls://c"]
    # And messages show them without the password
    assert settings.nats_addresses == "nats://a:4222, nats://b:4223, tls://c"


def test_an_address_is_shown_without_what_logs_in() -> None:
    assert without_login("redis://me:secret@host:6379/0?password=other") == "redis://host:6379/0"


@pytest.mark.parametrize("password", ["a,b", "a:b", "a/b", "a@b", "a#b", "a?b", "1,2"])
def test_a_password_that_is_not_encoded_is_never_shown(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    # Given a password with a character that means something in an address
    monkeypatch.setenv("NATS_URL", f"nats://me:{password}@host:4222,nats://me:{password}@other:4222")
    # When the settings are read, refused or not
    try:
        message = Settings().nats_addresses
    except ValidationError as refused:
        message = describe_invalid_setting(refused)
    # Then nothing that is said shows the password
    assert password not in message
    assert f"me:{password[0]}" not in message


@pytest.mark.parametrize(
    "store",
    [
        "nats://audio",
        "file:///recordings",
        "s3://recordings",
        "s3://recordings/calls/2026",
        "s3://recordings/calls/",
        "https://files.example.com/",
        "https://files.example.com:8443/calls/2026/",
    ],
)
def test_a_store_is_accepted(store: str) -> None:
    assert Settings(_env_file=None, audio_store=store).audio_store == store


@pytest.mark.parametrize(
    "store",
    [
        "s3://",
        "s3:///calls",
        "s3://Recordings",
        "s3://recordings/../other",
        "s3://recordings//calls",
        "s3://recordings/./calls",
        "s3://user:password@recordings",
        "s3://recordings?region=x",
        "http://files.example.com/",
        "https://files.example.com",
        "https://files.example.com/calls",
        "https://user:password@files.example.com/",
        "https://files.example.com/../",
        "https://files.example.com/?a=",
        "ftp://files.example.com/",
    ],
)
def test_a_store_that_cannot_work_is_refused(store: str) -> None:
    with pytest.raises(ValidationError, match="write nats://BUCKET"):
        Settings(_env_file=None, audio_store=store)


def test_the_error_for_a_missing_s3_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given the package without its extra
    monkeypatch.setitem(sys.modules, "obstore", None)
    # When recordings are to be in S3
    # Then the command that installs the extra is named
    with pytest.raises(ValidationError, match=re.escape("pip install './clients/python[s3]'")):
        Settings(_env_file=None, audio_store="s3://recordings")


def test_a_client_and_a_worker_read_a_file_alike(tmp_path: Path) -> None:
    # Given a file of settings with a name in lower case and a password with a reference
    file = tmp_path / ".env"
    file.write_text("nats_user=publisher\nNATS_PASSWORD=a${NOWHERE}b\n")
    # When a client and a worker read it
    client, worker = ClientSettings.read(file), Settings(_env_file=file)
    # Then both read the same
    assert client.nats_user == worker.nats_user == "publisher"
    assert client.nats_password == worker.nats_password


LIMITS = [
    ("nats_max_msgs_per_subject", 1, 0, None),
    ("task_timeout", 0.001, 0, None),
    ("task_max_retries", 0, -1, None),
    ("task_retry_delay", 0.001, 0, None),
    ("task_heartbeat", 0.001, 0, None),
    ("task_grace", 0, -0.001, None),
    ("audio_ttl", 0, -1, 3_153_600_000),
    ("voice_threshold", -1, -1.1, 1),
    ("voice_margin", 0, -0.1, 2),
    ("live_streams", 0, -1, 48),
    ("live_ttl", 120, 119, None),
    ("live_max_bytes", 0, -1, None),
    ("audio_max_seconds", 0.001, 0, None),
    ("audio_max_decode_seconds", 0.001, 0, None),
    ("diarization_max_seconds", 0.001, 0, None),
    ("cache_ttl", 0, -1, None),
    ("engine_threads", 1, 0, None),
    ("engine_parallel", 0, -1, 16),
    ("engine_beam", 1, 0, 20),
    ("engine_batch", 1, 0, 16),
    ("audio_max_bytes", 1, 0, None),
]


def of(name: str, value: object) -> Settings:
    """Settings of which one is given."""
    values: dict[str, Any] = {name: value}
    return Settings(_env_file=None, **values)


@pytest.mark.parametrize(("name", "least", "too_little", "most"), LIMITS, ids=[name for name, *_ in LIMITS])
def test_a_number_has_its_limits(name: str, least: float, too_little: float, most: float | None) -> None:
    for value in (least, most if most is not None else 10**6):
        if name != "task_heartbeat" or value == least:
            assert getattr(of(name, value), name) == value
    for value in [too_little, *([most + 1] if most is not None else [])]:
        with pytest.raises(ValidationError):
            of(name, value)


@pytest.mark.parametrize(("heartbeat", "allowed"), [(14.9, True), (15, False)])
def test_a_heartbeat_comes_before_a_worker_counts_as_dead(heartbeat: float, allowed: bool) -> None:
    if allowed:
        assert Settings(_env_file=None, task_ack_wait=15, task_heartbeat=heartbeat).task_heartbeat == heartbeat
    else:
        with pytest.raises(ValidationError, match="TASK_HEARTBEAT must be below"):
            Settings(_env_file=None, task_ack_wait=15, task_heartbeat=heartbeat)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("nats_replicas", (1, 3, 5), (0, 2, 4, 7)),
        ("redis_url", ("redis://h/0", "rediss://h", "unix://p"), ("http://h", "localhost")),
        ("log_level", ("info", "warning"), ("loud",)),
        ("otel_exporter_otlp_endpoint", ("http://h", "https://h"), ("h:4318",)),
    ],
)
def test_a_choice_is_one_of_a_few(name: str, right: tuple[object, ...], wrong: tuple[object, ...]) -> None:
    for value in right:
        assert getattr(of(name, value), name) == value
    for value in wrong:
        with pytest.raises(ValidationError):
            of(name, value)


@pytest.mark.parametrize(
    ("store", "after"),
    [("nats://audio", 60), ("s3://calls", 60), ("file:///calls", None), ("https://files.example.com/", None)],
)
def test_which_recordings_the_service_may_erase(store: str, after: float | None) -> None:
    assert Settings(_env_file=None, audio_store=store, audio_ttl=60).audio_erased_after_s == after


def test_what_follows_from_a_setting(tmp_path: Path) -> None:
    assert Settings(_env_file=None, task_max_retries=0).max_attempts == 1
    assert Settings(_env_file=None, task_max_retries=3).max_attempts == 4
    assert of("transcription_models", " a, ,b ").transcription_models == ("a", "b")
    assert of("transcription_models_dir", tmp_path).transcription_models_dir == tmp_path
    assert of("log_level", "WARNING").log_level == "warning"
