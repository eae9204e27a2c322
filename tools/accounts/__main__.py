"""Write accounts.conf, or say what is wrong with the registry of channels."""

import sys
from pathlib import Path

from natscribe.schemas.channels import CHANNELS

from tools.accounts.checks import problems
from tools.accounts.configuration import configuration

if found := list(problems(CHANNELS)):
    sys.exit("\n".join(found))
Path("deploy/nats/accounts.conf").write_text(configuration(), encoding="utf-8")
