"""Opens a bucket of S3, or of another server that speaks the protocol of S3."""

import atexit
import time
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.store import S3Store

from natscribe.settings import Settings

if TYPE_CHECKING:  # the library has these types for type checkers alone
    from obstore.store import ClientConfig, S3Config

MAX_RETRIES = 6  # of requests for one recording, with growing pauses: about ten seconds in all

# Before Python 3.13, a thread of the library that hands over its last answer while Python ends aborts the process.
_LAST_ANSWER_S = 0.1
atexit.register(time.sleep, _LAST_ANSWER_S)


def connect(settings: Settings, *, within: timedelta, stalled: timedelta | None = None) -> S3Store:
    """Return the bucket and prefix that AUDIO_STORE names (`s3://bucket/prefix`); nothing is sent yet.

    A request fails after `within`, and `stalled` after the last byte that was received.

    If the settings have no credentials, the library looks for a web identity token, then for the credentials of the
    container, then for those of the machine.
    """
    where, endpoint = urlsplit(settings.audio_store), settings.aws_endpoint_url
    options: ClientConfig = {"timeout": within}
    config: S3Config = {"disable_bulk_delete": True}  # not every server has bulk deletion
    if settings.aws_access_key_id is not None and settings.aws_secret_access_key is not None:
        config["access_key_id"] = settings.aws_access_key_id
        config["secret_access_key"] = settings.aws_secret_access_key.get_secret_value()
    if settings.aws_region is not None:
        config["region"] = settings.aws_region
    if endpoint is not None:
        config["endpoint"] = endpoint
        options["allow_http"] = endpoint.startswith("http://")
    if stalled is not None:
        options["read_timeout"] = stalled
    return S3Store(
        where.netloc,
        prefix=where.path.strip("/") or None,
        config=config,
        client_options=options,
        retry_config={"max_retries": MAX_RETRIES, "retry_timeout": within},
    )


def lacks_credentials(error: Exception) -> bool:
    """Whether an error says that the library has found no credentials."""
    return "//169.254." in str(error)  # where machines and containers find them
