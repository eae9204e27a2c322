"""A model is refused only if the workers say which models they have."""

from pathlib import Path

import pytest
from natscribe.client import Client

from tests.integration.mock.conftest import Run


@pytest.mark.usefixtures("mock")
async def test_a_model_is_accepted_if_the_workers_list_none(run: Run, client: Client, tmp_path: Path) -> None:
    # Given a worker that does not say which models it offers
    (worker,) = await client.workers()
    assert worker.models is None
    # When a recording is transcribed with any model
    (tmp_path / "call.flac").write_bytes(b"not decoded")
    code, _, err = await run("transcribe", "call.flac", "--model", "large-v9")
    # Then there is a task
    assert (code, "completed" in err) == (0, True)
