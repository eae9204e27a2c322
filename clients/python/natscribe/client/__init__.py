"""The typed Python client of the service, which the console command uses, too."""

from natscribe.client.client import Client as Client
from natscribe.client.command import command as command
from natscribe.client.errors import *  # noqa: F403 -- the exceptions: mypy takes them for exported
from natscribe.client.live import Live as Live
from natscribe.client.results import format_result as format_result
from natscribe.client.stores import UploadCallback as UploadCallback
