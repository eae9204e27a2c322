"""The front page of a worker: lists what the worker serves over HTTP, for browsers and terminals."""

from typing import Final

_ADDRESSES: Final = {  # relative addresses: they also work behind a proxy that adds a prefix to paths
    "docs": "the messages of the service, for client developers",
    "asyncapi.yaml": "the same as an AsyncAPI document, also as asyncapi.json",
    "metrics": "metrics of this worker, for Prometheus",
    "health/live": "200 if the worker is alive; otherwise restart it",
    "health/ready": "200 if the worker takes tasks, otherwise 503 with the reason",
    "health/startup": "200 once the model can be loaded",
}


def front_page(version: str) -> str:
    """Return the front page in HTML; `version` is the version of the service."""
    items = "\n".join(f'<li><a href="{path}">{path}</a>: {text}' for path, text in _ADDRESSES.items())
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n<meta name="color-scheme" content="light dark">\n'
        f"<title>A worker of Natscribe</title>\n<h1>A worker of Natscribe {version}</h1>\n"
        "<p>Tasks go through NATS, not through HTTP. This worker serves:</p>\n"
        f"<ul>\n{items}\n</ul>\n</html>\n"
    )
