"""The command `voices`."""

from unittest.mock import AsyncMock

import pytest
from natscribe.client import Client, RequestFailedError
from natscribe.schemas.request_errors import no_embeddings

from tests.unit.cli.conftest import Run


@pytest.mark.usefixtures("no_server")
def test_a_task_without_voices_is_reported_in_terms_of_the_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "enroll_voice", AsyncMock(side_effect=RequestFailedError(no_embeddings("t1"))))
    result = run("voices", "enroll", "--task-id", "t1", "--name", "Anna", "--consent-by", "Anna")
    assert (result.exit_code, "give FILE without --task-id" in result.stderr) == (1, True)
    assert "identify: true" not in result.stderr
