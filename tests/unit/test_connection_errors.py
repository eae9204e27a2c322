"""What a worker logs of the errors that NATS reports."""

import pytest
from nats.errors import Error
from structlog.testing import capture_logs

from app.jetstream import connection

REFUSED = 'nats: permissions violation for publish to "$js.api.stream.create.transcription_tasks"'


@pytest.mark.parametrize(
    ("error", "event", "level"),
    [
        (Error(REFUSED), "nats_permission_refused", "error"),
        (Error("nats: slow consumer"), "nats_error_received", "warning"),
    ],
)
async def test_a_missing_permission_is_an_error_of_its_own(error: Error, event: str, level: str) -> None:
    # When NATS reports an error to a worker
    with capture_logs() as logged:
        await connection._failed(error)  # noqa: SLF001 -- only nats-py calls it
    # Then the log tells a missing permission from a passing trouble
    assert logged == [{"event": event, "log_level": level, "error": str(error)}]
