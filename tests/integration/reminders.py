"""The reminders of ended tasks, and the time that passes until they are due."""

from datetime import UTC, datetime

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from natscribe.schemas import subjects

from app.tasks.retention.reminders import Reminder
from tests.waiting import eventually


async def find_reminder(js: JetStreamContext, task_id: str) -> tuple[Reminder, datetime] | None:
    """The reminder of a task, and when it is due."""
    try:
        message = await js.get_last_msg("transcription_retention", subjects.reminder("*", "*", task_id))
    except NotFoundError:
        return None
    due = datetime.fromisoformat((message.headers or {})["Nats-Schedule"].removeprefix("@at "))
    return Reminder.model_validate_json(message.data or b""), due


async def let_time_pass(js: JetStreamContext, task_id: str) -> None:
    """Make the reminder of a task due, as if its time was over."""
    await eventually(lambda: find_reminder(js, task_id))
    message = await js.get_last_msg("transcription_retention", subjects.reminder("*", "*", task_id))
    headers = (message.headers or {}) | {"Nats-Schedule": f"@at {datetime.now(UTC).isoformat()}"}
    await js.publish(message.subject or "", message.data or b"", headers=headers)
    await eventually(lambda: is_no_longer_scheduled(js, message.subject or ""))


async def is_no_longer_scheduled(js: JetStreamContext, subject: str) -> bool:
    return not (await js.stream_info("transcription_retention", subjects_filter=subject)).state.subjects
