"""The typed Python client of the service, which the console command uses, too."""

from natscribe.client.client import Client as Client
from natscribe.client.command import command as command
from natscribe.client.errors import ClientError as ClientError
from natscribe.client.errors import InboxRefusedError as InboxRefusedError
from natscribe.client.errors import NoJetStreamError as NoJetStreamError
from natscribe.client.errors import NoServerError as NoServerError
from natscribe.client.errors import NotAllowedError as NotAllowedError
from natscribe.client.errors import NoWorkerError as NoWorkerError
from natscribe.client.errors import OptionError as OptionError
from natscribe.client.errors import OtherSenderError as OtherSenderError
from natscribe.client.errors import QueueFullError as QueueFullError
from natscribe.client.errors import RecordingError as RecordingError
from natscribe.client.errors import RequestFailedError as RequestFailedError
from natscribe.client.errors import SettingsError as SettingsError
from natscribe.client.errors import StorageFullError as StorageFullError
from natscribe.client.errors import StorageStoppedError as StorageStoppedError
from natscribe.client.errors import TaskDeletedError as TaskDeletedError
from natscribe.client.errors import TaskIdTakenError as TaskIdTakenError
from natscribe.client.errors import UnreachableError as UnreachableError
from natscribe.client.live import Live as Live
from natscribe.client.results import format_result as format_result
from natscribe.client.stores import UploadCallback as UploadCallback
