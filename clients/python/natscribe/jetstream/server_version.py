"""Checks that nats-server has a version that keeps every acknowledged message through a power failure."""

from typing import Final

from nats.aio.client import ServerVersion

from natscribe.schemas.workers import Problem

DURABLE_SINCE: Final = (2, 15, 1)  # earlier servers ignore `sync_interval: always` while they compact a file


def durability_problem(server: ServerVersion) -> Problem | None:
    """Return a problem if nats-server of this version may lose acknowledged messages in a power failure, else None."""
    number = (server.major, server.minor, server.patch)
    if number >= DURABLE_SINCE:
        return None
    version, durable = (".".join(map(str, parts)) for parts in (number, DURABLE_SINCE))
    return Problem(
        what=f"NATS has version {version}, which may lose acknowledged messages in a power failure",
        next_step=f"update nats-server to {durable} or later",
    )
