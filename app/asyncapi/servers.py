"""Where NATS is found, and how a client says who it is."""

from typing import Final

SECURITY_SCHEMES: Final = {
    "password": {"type": "userPassword", "description": "User and password of NATS."},
    "token": {"type": "apiKey", "in": "password", "description": "The token of NATS."},
    "credentials": {
        "type": "asymmetricEncryption",
        "description": "A credentials file: the server's challenge is signed with an NKEY.",
    },
    "certificate": {"type": "X509", "description": "TLS with a client certificate that the server verifies."},
}
SERVERS: Final = {
    "local": {
        "host": "localhost:4222",
        "protocol": "nats",
        "title": "On this machine",
        "description": "What `natscribe up` starts: it asks for nothing.",
    },
    "stack": {
        "host": "localhost:4222",
        "protocol": "nats",
        "title": "In containers on this machine",
        "description": "What `compose.yaml` starts: it refuses whoever brings no user and password. Each client hears "
        "answers below an inbox prefix of its own, `_INBOX_<user>` (`docs/access.md`).",
        "security": [{"$ref": "#/components/securitySchemes/password"}],
    },
    "secured": {
        "host": "{host}:{port}",
        "protocol": "nats",
        "title": "Elsewhere",
        "description": "With TLS (`tls://`), and with whichever of these its operator asks for.",
        "variables": {
            "host": {"default": "localhost", "description": "Where NATS runs: the operator knows."},
            "port": {"default": "4222", "description": "Where NATS listens for clients."},
        },
        "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in SECURITY_SCHEMES],
    },
}
