"""Where the peers are installed."""

from benchmarks.stack import ROOT

PEERS = ROOT / ".venv-peers"
PEERS_PYTHON = str(PEERS / "bin/python")


def installed() -> bool:
    """Whether `make bench` has installed them."""
    return (PEERS / ".ready").exists()
