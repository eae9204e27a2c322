"""windows.transcribe.*: windows of long recordings that busy workers send to idle ones."""

from typing import Annotated

from natscribe.schemas.windows import WindowReply, WindowRequest

from app.work_sharing.sharing import WorkSharing
from handlers.dependencies import FromContext


async def transcribe_window(request: WindowRequest, sharing: Annotated[WorkSharing, FromContext()]) -> WindowReply:
    """Transcribe a window of another worker's long recording while this worker is idle.

    The owner of a task requests the text of one window; one idle worker with the same engine replies. Workers that are
    not idle do not subscribe. If no worker replies, the owner transcribes the window.
    """
    return await sharing.transcribe_window(request)
