"""The commands that `natscribe up` suggests once it runs, and the settings that these commands need."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from natscribe.client.command import command_in_another_terminal
from natscribe.settings import without_login

from app.command.recording import TWO_READERS
from app.command.service import LocalService
from app.settings import Settings

_NEEDED_BY_CLIENTS = ("audio_store", "audio_max_bytes", "nats_stream_name", "nats_consumer_name", "nats_tls_ca_file")


def settings_for_clients() -> dict[str, str]:
    """Return the environment variables with which clients use the same settings as the service, such as AUDIO_STORE.

    Settings that are not set are left out, and none of the returned ones is a secret.
    """
    settings = Settings()
    values = {name: getattr(settings, name) for name in _NEEDED_BY_CLIENTS if name in settings.model_fields_set}
    return {name.upper(): str(value.absolute() if isinstance(value, Path) else value) for name, value in values.items()}


def next_steps(service: LocalService) -> Iterator[str]:
    """Yield the lines of a hint: commands that use the running service from another terminal."""
    here, anywhere = (command_in_another_terminal(in_this_folder=this) for this in (True, False))
    recording = os.path.relpath(TWO_READERS) if TWO_READERS.is_relative_to(Path.cwd()) else str(TWO_READERS)
    takes_uploads = Settings().audio_store.startswith("nats:")  # other stores may need the recording or a login first
    yield "Try    in another terminal, in this folder (Ctrl-C here stops everything):"
    yield f"         {here} {f'transcribe --diarize {shlex.quote(recording)}' if takes_uploads else 'doctor'}"
    url = service.servers["NATS_URL"]
    if url == without_login(url):
        settings = {"NATS_URL": url} | settings_for_clients()
        assignments = " ".join(f"{name}={shlex.quote(value)}" for name, value in settings.items())
        yield "       or in any other folder:"
        yield f"         {assignments} {anywhere} list"
