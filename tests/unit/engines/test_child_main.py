"""What an engine process replies and logs where a job fails."""

import errno
from io import BytesIO

import pytest
from natscribe.schemas.errors import ErrorCode

from app.engines.messages import REPLY, Failed, Job, Load
from app.engines.process.child_main import serve
from app.engines.process.job_runner import Emit
from app.runtime.errors import PermanentError, TransientError

REFUSED = PermanentError(ErrorCode.AUDIO_UNREADABLE, "It is empty.")
DAMAGED = PermanentError(ErrorCode.AUDIO_UNREADABLE, "It is damaged.")
DAMAGED.__cause__ = ValueError("said in confidence")
STALLED = TransientError(ErrorCode.ENGINE_FAILED, "It stands still.")
FULL = OSError(errno.ENOSPC, "said in confidence")


@pytest.mark.parametrize(
    ("error", "message", "logged"),
    [
        (REFUSED, "It is empty.", ""),  # the worker knows it all
        (DAMAGED, "It is damaged.", "ValueError in"),
        (STALLED, "It stands still.", "TransientError in run:"),
        (MemoryError(), "The engine ran out of memory", "MemoryError in run:"),
        (FULL, "The engine failed", "OSError (No space left on device) in run:"),
        (OSError("said in confidence"), "The engine failed", "OSError in run:"),
        (ValueError("said in confidence"), "The engine failed", "ValueError in run:"),
    ],
)
def test_an_error_is_returned_and_its_location_logged_without_content_of_the_recording(
    capsys: pytest.CaptureFixture[str], error: Exception, message: str, logged: str
) -> None:
    def run(_job: Job, _emit: Emit) -> None:
        raise error

    # When a job fails
    output = BytesIO()
    serve(run, Load().model_dump_json().encode(), output)

    # Then the one line of its reply says why, and whether another attempt may succeed
    (line,) = output.getvalue().splitlines(keepends=True)
    failed = REPLY.validate_json(line)
    assert line.endswith(b"\n")
    assert isinstance(failed, Failed)
    assert failed.error.message.startswith(message)
    assert failed.transient is not isinstance(error, PermanentError)
    # And the log has the type and location of the error, for the operator
    written = capsys.readouterr().err
    assert written.startswith(logged)
    assert bool(written) is bool(logged)
    assert "confidence" not in written
