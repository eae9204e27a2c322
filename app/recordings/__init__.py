"""The store of recordings, where `audio_file_id` names a recording."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from nats.aio.client import Client

from app.recordings.bucket import Bucket
from app.recordings.folder import Folder
from app.recordings.https import Https
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
        """Delete a recording, if it is there and the service may do more than read.

        Raises:
            TransientError: internal: the store cannot be reached.
        """
        ...


def recordings_of(settings: Settings, nats: Client) -> Recordings:
    """Return the store that the setting AUDIO_STORE names."""
    where, most = urlsplit(settings.audio_store), settings.audio_max_bytes
    match where.scheme:
        case "file":
            return Folder(Path(unquote(where.path)), most)
        case "https":
            return Https(settings.audio_store, most)
        case "s3":
            from app.recordings.s3 import S3  # noqa: PLC0415 -- its library is an optional extra

            return S3(settings)
    return Bucket(where.netloc, most, nats)
