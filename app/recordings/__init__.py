"""The store of recordings, where `audio_file_id` names a recording: a bucket of the Object Store or a folder."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from nats.js import JetStreamContext

from app.recordings.bucket import Bucket
from app.recordings.folder import Folder
from app.recordings.recording import REPLACED, Recording
from app.settings import Settings

__all__ = ["REPLACED", "Recording", "Recordings", "recordings_of"]


class Recordings(Protocol):
    """Where recordings are kept."""

    def fetch(self, audio_file_id: str, /) -> AbstractAsyncContextManager[Recording]:
        """Provide a recording as a file on this machine until the block ends; a downloaded copy is deleted then.

        Raises:
            PermanentError: audio_not_found, audio_too_large, audio_unreadable.
            TransientError: internal: the recordings cannot be reached, or the temporary folder is full.
        """
        ...

    async def delete(self, audio_file_id: str, /) -> None:
        """Delete a recording from the service's bucket, if it is there.

        Raises:
            TransientError: internal: the bucket cannot be reached.
        """
        ...


def recordings_of(settings: Settings, jetstream: JetStreamContext) -> Recordings:
    """Return the store in the setting AUDIO_STORE: a bucket (`nats://bucket`) or a folder (`file:///folder`)."""
    where = urlsplit(settings.audio_store)
    if where.scheme == "file":
        return Folder(Path(unquote(where.path)), settings.audio_max_bytes)
    return Bucket(where.netloc, settings.audio_max_bytes, jetstream)
