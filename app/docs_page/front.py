"""The front page of a worker: names what the worker serves over HTTP, for browsers and for terminals."""

from typing import Final

_THERE_IS: Final = {  # relative addresses: they also work behind a proxy that adds a prefix to paths
    "docs": "every message of the service, for whoever writes a client",
    "asyncapi.yaml": "the same as an AsyncAPI document; asyncapi.json has it as JSON",
    "metrics": "metrics of this worker, for Prometheus",
    "health/live": "200 if the worker lives; restart it if not",
    "health/ready": "200 if the worker takes tasks, else 503 and what is missing",
    "health/startup": "200 once a model can be loaded",
}


def front_page(version: str) -> str:
    """Return the page in HTML; `version` is that of the service."""
    items = "\n".join(f'<li><a href="{path}">{path}</a>: {what}' for path, what in _THERE_IS.items())
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n<meta name="color-scheme" content="light dark">\n'
        f"<title>A worker of Natscribe</title>\n<h1>A worker of Natscribe {version}</h1>\n"
        "<p>Tasks go through NATS, not through HTTP. Here you find:</p>\n"
        f"<ul>\n{items}\n</ul>\n</html>\n"
    )
