"""What docs/live.md says in numbers, and in its example, is what the code does; docs/contract.md has the tables."""

import re
from pathlib import Path

from natscribe.jetstream.error_codes import QUEUE_FULL
from natscribe.jetstream.streams import DUPLICATE_WINDOW_S
from natscribe.schemas.live import IDLE_S, LARGEST_FRAME_BYTES, LiveAudio, LiveTask

TEXT = (Path(__file__).parents[2] / "docs/live.md").read_text(encoding="utf-8")


def test_the_shortest_task_is_one() -> None:
    told = re.findall(r"```json\n(.*?)\n```", TEXT)
    assert LiveTask.model_validate_json(told[0]) == LiveTask(task_id="t1", user_id=7, audio=LiveAudio())


def test_the_numbers() -> None:
    assert f"at most {LARGEST_FRAME_BYTES} bytes" in TEXT
    assert f"`err_code` {QUEUE_FULL}" in TEXT
    assert DUPLICATE_WINDOW_S == 120
    assert "in the last two minutes" in TEXT
    assert f"`idle_seconds` ({IDLE_S} by default)" in TEXT
