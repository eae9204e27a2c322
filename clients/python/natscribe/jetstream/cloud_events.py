"""The CloudEvents 1.0 attributes (binary mode) in the headers of every event that the service appends."""

from collections.abc import Mapping
from datetime import datetime, timezone

JSON = "application/json"


def is_from_service(found: Mapping[str, str] | None) -> bool:
    """Return whether a version of the service has published the message with these headers.

    The headers decide, which all versions write alike, and not the content: another version may have written that.
    """
    return (found or {}).get("ce-source", "").startswith("natscribe/")


def headers(what: str, source: str, event_id: str, *, task_id: str | None) -> dict[str, str]:
    """Return the headers of an event on the subjects `what.*`; streams use the event's id to recognise duplicates."""
    attributes = {
        "ce-specversion": "1.0",
        "ce-id": event_id,
        "Nats-Msg-Id": event_id,
        "ce-source": source,
        "ce-type": f"natscribe.{what}.v1",
        "ce-time": datetime.now(timezone.utc).isoformat(),
        "ce-datacontenttype": JSON,  # the NATS binding of CloudEvents gives the type of the payload in this header
        "content-type": JSON,  # general clients and libraries look for the type here
    }
    return attributes if task_id is None else attributes | {"ce-subject": task_id}
