"""windows.offered: another worker has more windows of a recording than it can transcribe at once."""

from typing import Annotated

from app.work_sharing.coordinator import WorkSharing
from handlers.dependencies import FromContext
from schemas.sharing import WindowsOffered


async def offered(offer: WindowsOffered, sharing: Annotated[WorkSharing, FromContext()]) -> None:
    """Help the other worker, if this one is idle."""
    await sharing.consider(offer)
