"""windows.offered: offers of workers whose task has more windows than the worker can transcribe at once."""

from typing import Annotated

from natscribe.schemas.sharing import WindowsOffered

from app.work_sharing.coordinator import WorkSharing
from handlers.dependencies import FromContext


async def offered(offer: WindowsOffered, sharing: Annotated[WorkSharing, FromContext()]) -> None:
    """Help the worker that sent the offer, if this worker is idle."""
    await sharing.consider(offer)
