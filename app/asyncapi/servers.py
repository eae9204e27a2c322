"""The NATS servers of the AsyncAPI document, and how clients log in."""

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
        "description": "What `natscribe up` starts: no login is needed.",
    },
    "stack": {
        "host": "localhost:4222",
        "protocol": "nats",
        "title": "In containers on this machine",
        "description": "What `compose.yaml` starts: a client needs a user and a password. Each user receives replies "
        "below its own inbox prefix, `_INBOX_<user>` (`docs/access.md`).",
        "security": [{"$ref": "#/components/securitySchemes/password"}],
    },
    "secured": {
        "host": "{host}:{port}",
        "protocol": "nats",
        "title": "Remote",
        "description": "With TLS (`tls://`), and with the login that the operator has set up.",
        "variables": {
            "host": {"default": "localhost", "description": "Host of NATS, from its operator."},
            "port": {"default": "4222", "description": "Port for clients."},
        },
        "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in SECURITY_SCHEMES],
    },
}
