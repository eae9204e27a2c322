"""windows.offered: another worker has more of a recording than it can hear at once."""

from typing import Annotated

from app.work_sharing.work_sharing import Sharing
from handlers.dependencies import FromContext
from schemas.sharing import WindowsOffered


async def offered(offer: WindowsOffered, sharing: Annotated[Sharing, FromContext()]) -> None:
    """Help, where this worker is idle."""
    await sharing.offered(offer)
