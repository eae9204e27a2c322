"""windows.transcribe.*: windows of long recordings that busy workers send to idle ones."""

from typing import Annotated

from natscribe.schemas.windows import WindowReply, WindowRequest

from app.work_sharing.sharing import WorkSharing
from handlers.dependencies import FromContext


async def transcribe_window(request: WindowRequest, sharing: Annotated[WorkSharing, FromContext()]) -> WindowReply:
    """Transcribe a window of another worker while this worker is idle."""
    return await sharing.transcribe_window(request)
