"""Settings: what is said of a wrong one."""

import pytest
from pydantic import ValidationError

from app.settings import Settings, read_settings


def test_a_wrong_setting_tells_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
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
        ("REDIS_URL", "localhost", "REDIS_URL is wrong: write redis://HOST:PORT/DATABASE"),
        ("AUDIO_STORE", "/recordings", "AUDIO_STORE is wrong: write nats://BUCKET or file:///FOLDER"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL is wrong: write one of debug, info"),
        ("NATS_CREDS_FILE", "/nowhere/user.creds", "NATS_CREDS_FILE is wrong: Path does not point to a file"),
        ("NATS_TLS_CA_FILE", "/nowhere/ca.pem", "NATS_TLS_CA_FILE is wrong: Path does not point to a file"),
    ],
)
def test_a_wrong_setting_ends_a_worker_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, what: str
) -> None:
    # Given a setting that cannot be
    monkeypatch.setenv(name, value)
    # When a worker reads it
    with pytest.raises(SystemExit) as ended:
        read_settings()
    # Then its last words are what is wrong, under the name that it has in the environment
    assert what in str(ended.value.code)
