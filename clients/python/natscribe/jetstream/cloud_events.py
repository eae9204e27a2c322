"""The CloudEvents 1.0 attributes (binary mode) in the headers of every event that the service publishes to a stream."""

from collections.abc import Mapping
from datetime import datetime, timezone

JSON = "application/json"


def is_from_service(message_headers: Mapping[str, str] | None) -> bool:
    """Whether the header `ce-source` of a message says that Natscribe, in any version, has published the message."""
    return (message_headers or {}).get("ce-source", "").startswith("natscribe/")


def headers(event_type: str, source: str, event_id: str, *, task_id: str | None) -> dict[str, str]:
    """Return the headers of an event of the type `event_type`, the first token of its subject, e.g. `progress`.

    `source`: the publisher, e.g. `natscribe/WORKER`. `event_id`: a unique id, by which JetStream drops duplicates, as
    it is the header Nats-Msg-Id, too. `task_id`: the task of the event; None if the task has no valid id.
    """
    attributes = {
        "ce-specversion": "1.0",
        "ce-id": event_id,
        "Nats-Msg-Id": event_id,
        "ce-source": source,
        "ce-type": f"natscribe.{event_type}.v1",
        "ce-time": datetime.now(timezone.utc).isoformat(),
        "ce-datacontenttype": JSON,  # the type of the payload in the NATS binding of CloudEvents
        "content-type": JSON,  # the header that general clients and libraries read
    }
    return attributes if task_id is None else attributes | {"ce-subject": task_id}
