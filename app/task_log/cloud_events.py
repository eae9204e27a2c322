"""CloudEvents 1.0 attributes in binary mode, as headers of every message that the service publishes."""

from datetime import UTC, datetime

JSON = "application/json"


def headers(what: str, source: str, event_id: str, *, task_id: str | None) -> dict[str, str]:
    """The attributes of an event on the subjects `what.*`; its id is also what the stream deduplicates by."""
    attributes = {
        "ce-specversion": "1.0",
        "ce-id": event_id,
        "Nats-Msg-Id": event_id,
        "ce-source": source,
        "ce-type": f"natscribe.{what}.v1",
        "ce-time": datetime.now(UTC).isoformat(),
        "ce-datacontenttype": JSON,  # what the NATS binding asks for
        "content-type": JSON,  # what clients look at
    }
    return attributes if task_id is None else attributes | {"ce-subject": task_id}
