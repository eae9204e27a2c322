"""Objects: what NATS' Object Store keeps, and how it is made to forget."""

import base64

from nats.js import JetStreamContext


async def erase(js: JetStreamContext, bucket: str, name: str) -> None:
    """Remove an object, and the note with its name that a deleted one leaves behind (NotFoundError)."""
    await (await js.object_store(bucket)).delete(name)
    encoded = base64.urlsafe_b64encode(name.encode()).decode()
    await js.purge_stream(f"OBJ_{bucket}", subject=f"$O.{bucket}.M.{encoded}")
