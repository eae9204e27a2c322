"""Stand-ins for what is slow or remote, behind the same Protocols."""
