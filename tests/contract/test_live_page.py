"""What the documents say about live audio in numbers, and in an example, is what the code does."""

import re
from pathlib import Path

from natscribe.jetstream.error_codes import QUEUE_FULL
from natscribe.jetstream.streams import DUPLICATE_WINDOW_S
from natscribe.schemas.live import IDLE_S, MAX_UTTERANCE_S, LiveAudio, LiveTask

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "live.md").read_text(encoding="utf-8")
RULES = (DOCS / "contract.md").read_text(encoding="utf-8").partition("### Rules for publishing audio")[2]


def test_the_shortest_task_is_one() -> None:
    (task,) = re.findall(r"```json\n(.*?)\n```", GUIDE)
    assert LiveTask.model_validate_json(task) == LiveTask(task_id="t1", user_id=7, audio=LiveAudio())


def test_the_numbers() -> None:
    assert f"`err_code` {QUEUE_FULL}: the stream is full" in RULES
    assert DUPLICATE_WINDOW_S == 120
    assert "stored in the last two minutes" in RULES
    assert f"`idle_seconds` ({IDLE_S} by default)" in RULES
    assert f"or after {MAX_UTTERANCE_S:g} s" in GUIDE


def test_the_guide_counts_the_rules_that_it_does_not_repeat() -> None:
    assert len(re.findall(r"^\d\. ", RULES.partition("\n### ")[0], re.MULTILINE)) == 7
    assert "[seven rules for publishing audio](contract.md#rules-for-publishing-audio)" in GUIDE.replace("\n", " ")
