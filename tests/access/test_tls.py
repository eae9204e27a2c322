"""TLS: with the certificate that is made for development, for the service and its clients alike."""

from pathlib import Path

import pytest
from natscribe.client import Client
from natscribe.client.errors import UnreachableError

from app.settings import Settings
from tests.access.servers import GuardedNats, GuardedValkey, login, service_settings
from tests.faults import make_certificates


@pytest.fixture
def settings(encrypted: GuardedNats, valkey: GuardedValkey, certificates: Path) -> Settings:
    return service_settings(encrypted.url, valkey, nats_tls_ca_file=certificates / "ca.crt")


@pytest.mark.parametrize("trusted", ["nobody", "somebody else"])
async def test_a_server_that_is_not_trusted_gets_no_password(settings: Settings, tmp_path: Path, trusted: str) -> None:
    # Given a client that trusts no private authority, or another one
    authority = None if trusted == "nobody" else make_certificates(tmp_path / "other") / "ca.crt"
    mistrusting = login(settings, "publisher").model_copy(update={"nats_tls_ca_file": authority})
    # When it connects, then the error says what to check
    with pytest.raises(UnreachableError, match="NATS_TLS_CA_FILE"):
        async with Client(mistrusting):
            pass


def test_the_authority_signs_nothing_else(certificates: Path) -> None:
    # The key of the authority is not stored, and only the server can read its own
    assert {file.name for file in certificates.iterdir()} == {"ca.crt", "server.crt", "server.key"}
    assert (certificates / "server.key").stat().st_mode & 0o077 == 0
