"""Write accounts.conf and the tables of docs/access.md, or say what is wrong with the registry of channels."""

import sys
from pathlib import Path

from app.storage.jetstream.channels import CHANNELS
from tools.accounts.checks import problems
from tools.accounts.configuration import configuration
from tools.accounts.tables import with_tables

if found := list(problems(CHANNELS)):
    sys.exit("\n".join(found))
ACCESS = Path("docs/access.md")
ACCESS.write_text(with_tables(ACCESS.read_text(encoding="utf-8")), encoding="utf-8")
Path("deploy/nats/accounts.conf").write_text(configuration(), encoding="utf-8")
