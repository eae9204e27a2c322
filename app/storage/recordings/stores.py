"""Creates the store of recordings that the setting AUDIO_STORE names."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from nats.aio.client import Client

from app.settings import Settings
from app.storage.recordings.bucket import Bucket
from app.storage.recordings.folder import Folder
from app.storage.recordings.https import Https
from app.storage.recordings.recording import RecordingStore


def make_recording_store(settings: Settings, nats: Client) -> RecordingStore:
    """Create the store of recordings that the setting AUDIO_STORE names."""
    address, most = urlsplit(settings.audio_store), settings.audio_max_bytes
    match address.scheme:
        case "file":
            return Folder(Path(unquote(address.path)), most)
        case "https":
            return Https(settings.audio_store, most)
        case "s3":
            from app.storage.recordings.s3 import S3  # noqa: PLC0415 -- its library is an optional extra

            return S3(settings)
    return Bucket(address.netloc, most, nats)
