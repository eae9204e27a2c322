"""windows.offered: another worker has more of a recording than it can hear at once."""

from typing import Annotated

from app.work_sharing.work_sharing import Sharing
from handlers.given import Given
from schemas.sharing import WindowsOffered


async def offered(offer: WindowsOffered, sharing: Annotated[Sharing, Given()]) -> None:
    """Help, where this worker is idle."""
    await sharing.offered(offer)
