"""Handles `windows.transcribe.*`: idle workers transcribe parts (windows) of long recordings for busy workers."""

from app.engines.windows import WindowReply, WindowRequest
from app.speech.window_sharing.sharing import WorkSharing
from handlers.dependencies import part


async def transcribe_window(
    request: WindowRequest, sharing: WorkSharing = part(lambda worker: worker.sharing)
) -> WindowReply:
    """Transcribe a window, i.e. up to 20 s of speech, of another worker's long recording while this worker is idle.

    The owner, i.e. the worker that runs the task of the recording, requests the text of one window; one idle worker
    with the same engine replies. Workers that are not idle do not subscribe. If no worker replies, the owner
    transcribes the window.
    """
    return await sharing.transcribe_window(request)
