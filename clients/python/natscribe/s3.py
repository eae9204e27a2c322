"""Opens an S3 bucket, on Amazon S3 or on another server with the S3 API."""

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

# Before Python 3.13, a thread of the library that returns its last response while Python ends aborts the process.
_LAST_RESPONSE_S = 0.1
atexit.register(time.sleep, _LAST_RESPONSE_S)


def connect(settings: Settings, *, within: timedelta, stalled: timedelta | None = None) -> S3Store:
    """Return the store for the bucket and prefix in AUDIO_STORE (`s3://bucket/prefix`), without sending a request.

    Requests of the store fail after the time `within`, or when no byte has arrived for the time `stalled`. Without
    credentials in the settings, obstore uses a web identity token, or the credentials of the container or the machine.
    """
    url, endpoint = urlsplit(settings.audio_store), settings.aws_endpoint_url
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
        url.netloc,
        prefix=url.path.strip("/") or None,
        config=config,
        client_options=options,
        retry_config={"max_retries": MAX_RETRIES, "retry_timeout": within},
    )


def lacks_credentials(error: Exception) -> bool:
    """Whether a request failed because there are no S3 credentials, neither in the settings nor on the machine."""
    return "//169.254." in str(error)  # the address from which machines and containers obtain them
