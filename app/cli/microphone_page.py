"""The page that transcribes a microphone, which `natscribe up --websocket` serves."""

import json
import shutil
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from natscribe.client import ClientError

from app.cli.ports import choose_port
from app.embedded.process import HOST

PAGE_PORT, WEBSOCKET_PORT = 8001, 9222  # if they are free
_PAGE = Path(__file__).parent / "browser"  # a link to examples/browser, so that this package has the page


@dataclass(frozen=True)
class WebSocketOptions:
    """Options of the embedded NATS' WebSocket: its port, and the origins of other web pages that may connect to it.

    Without a port it uses WEBSOCKET_PORT if that is free, otherwise any free port.
    """

    port: int | None = None
    origins: Sequence[str] = ()


@dataclass(frozen=True)
class MicrophonePage:
    """The web page that transcribes a microphone: its HTTP port, and the WebSocket port at which it connects to NATS.

    `origins`: the origins of other web pages that may connect to NATS.
    """

    port: int
    websocket_port: int
    origins: Sequence[str] = ()

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.port}/"

    @property
    def websocket(self) -> str:
        """The WebSocket address at which web pages connect to NATS."""
        return f"ws://{HOST}:{self.websocket_port}"

    @property
    def nats_config(self) -> str:
        """The section `websocket` of the NATS server's configuration.

        It lists the allowed origins: without them, every page on the web could connect to this NATS.
        """
        ours = [f"http://{host}:{self.port}" for host in (HOST, "localhost")]
        origins = json.dumps([*ours, *self.origins])
        return f'websocket {{ listen: "{HOST}:{self.websocket_port}", no_tls: true, allowed_origins: {origins} }}\n'

    @contextmanager
    def served(self, folder: Path) -> Generator[None]:
        """Serve the page until the block ends, from a copy in `folder` that has the WebSocket address of NATS."""
        shutil.copytree(_PAGE, folder, dirs_exist_ok=True)
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        (folder / "settings.json").write_text(json.dumps(settings | {"server": self.websocket}), encoding="utf-8")
        policy = f"connect-src 'self' {self.websocket}; frame-ancestors 'none'"
        with self._server(partial(_handler(policy), directory=str(folder))) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()

    def _server(self, handler: partial[SimpleHTTPRequestHandler]) -> ThreadingHTTPServer:
        try:
            return ThreadingHTTPServer((HOST, self.port), handler)
        except OSError as error:  # it was free when it was chosen
            message = f"Another program has just taken port {self.port} of the page: start again."
            raise ClientError(message) from error


def choose_page(options: WebSocketOptions, *, names_nats: bool, http_port: int) -> MicrophonePage:
    """Choose the ports of the page and of the WebSocket of NATS.

    `names_nats`: whether NATS_URL names an external server. `http_port`: the port of the worker's HTTP server, which
    neither may use.

    Raises:
        ClientError: NATS_URL names an external server, or another process uses the port that the option names.
    """
    if names_nats:
        message = (
            "NATS_URL names a server, and --websocket is for the embedded one: unset NATS_URL, or open the WebSocket"
            " of your server as docs/access.md says."
        )
        raise ClientError(message)
    port = choose_port(options.port, WEBSOCKET_PORT, "--websocket-port", besides=[http_port])
    return MicrophonePage(choose_port(None, PAGE_PORT, "", besides=[http_port, port]), port, options.origins)


def _handler(policy: str) -> type[SimpleHTTPRequestHandler]:
    """Create a handler class that serves files with the header Content-Security-Policy, which has the value `policy`.

    A page itself can set only part of such a policy.
    """

    class Handler(SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            self.send_header("Content-Security-Policy", policy)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cache-Control", "no-cache")  # a browser checks each time whether a file has changed
            super().end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name is the library's
            """Discard the log line that the library writes for each request."""

    return Handler
