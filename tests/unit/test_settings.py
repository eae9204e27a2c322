"""Settings: what is said of a wrong one."""

import pytest
from pydantic import ValidationError

from app.settings import Settings


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
