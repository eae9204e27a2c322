"""The web page that `natscribe up` serves: it is a client of NATS by WebSocket."""

import gzip
import json
import mimetypes
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from natscribe.client import ClientError

from app.cli.ports import choose_port
from app.embedded.process import HOST
from app.settings import Settings

PAGE_PORT, WEBSOCKET_PORT = 8001, 9222  # if they are free
_FILES = Path(__file__).parent / "browser"  # a link to examples/browser, so that this package has the page


@dataclass(frozen=True)
class PageOptions:
    """Options of the web page that `natscribe up` serves, all about the WebSocket of the embedded NATS.

    `port`: its port; None: WEBSOCKET_PORT if that is free, otherwise any free port. `origins`: the origins of other web
    pages that may connect to it.
    """

    port: int | None = None
    origins: Sequence[str] = ()


@dataclass(frozen=True)
class WebPage:
    """The web page: its HTTP port, and the WebSocket port at which it connects to NATS.

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
    def served(self, settings: Settings) -> Generator[None]:
        """Serve the page until the block ends; its `settings.json` has the address of NATS and the store of recordings.

        The page can upload recordings only to a bucket of NATS: for another store, `bucket` in `settings.json` is null.
        """
        files = {f"/{path.name}": path.read_bytes() for path in _FILES.iterdir()}
        kind, _, bucket = settings.audio_store.partition("://")
        chosen = {"server": self.websocket, "streams": settings.stem, "bucket": bucket if kind == "nats" else None}
        written = json.loads(files["/settings.json"]) | chosen | {"maxBytes": settings.audio_max_bytes}
        files |= {"/": files["/index.html"], "/settings.json": json.dumps(written).encode()}
        policy = f"connect-src 'self' {self.websocket}; frame-ancestors 'none'"
        with self._server(_handler(files, policy)) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()

    def _server(self, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
        try:
            return ThreadingHTTPServer((HOST, self.port), handler)
        except OSError as error:  # it was free when it was chosen
            message = f"Another program has just taken port {self.port} of the page: start again."
            raise ClientError(message) from error


def choose_page(options: PageOptions | None, *, names_nats: bool, http_port: int) -> WebPage | None:
    """Choose the ports of the page and of the WebSocket of NATS; return None if no page is wanted or possible.

    `names_nats`: whether NATS_URL names an external server, whose WebSocket this command cannot open to pages.
    `http_port`: the port of the worker's HTTP server; another one is chosen for the page and the WebSocket.

    Raises:
        ClientError: NATS_URL names an external server, but an option is for the embedded one; or another process uses
            the port that the option names.
    """
    if options is None or (names_nats and options == PageOptions()):
        return None
    if names_nats:
        message = (
            "NATS_URL names a server, and --websocket-port and --origin are for the embedded one: unset NATS_URL, or"
            " open the WebSocket of your server as docs/access.md says."
        )
        raise ClientError(message)
    port = choose_port(options.port, WEBSOCKET_PORT, "--websocket-port", besides=[http_port])
    return WebPage(choose_port(None, PAGE_PORT, "", besides=[http_port, port]), port, options.origins)


def _handler(files: Mapping[str, bytes], policy: str) -> type[BaseHTTPRequestHandler]:
    """Create a handler class that serves files, compressed if the browser accepts that.

    `files`: the content of each file by its path in the URL. `policy`: the header Content-Security-Policy of all
    responses; a header is necessary, because a page itself can set only part of such a policy.
    """
    compressed = {path: gzip.compress(content, mtime=0) for path, content in files.items()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path not in files:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            is_compressed = "gzip" in self.headers.get("Accept-Encoding", "")
            content = (compressed if is_compressed else files)[path]
            media_type = mimetypes.guess_type("index.html" if path == "/" else path)[0] or "application/octet-stream"
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", f"{media_type}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            if is_compressed:
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(content)

        def end_headers(self) -> None:
            self.send_header("Content-Security-Policy", policy)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cache-Control", "no-cache")  # a browser checks each time whether a file has changed
            self.send_header("Vary", "Accept-Encoding")
            super().end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name is the library's
            """Discard the log line that the library writes for each request."""

    return Handler
