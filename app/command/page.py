"""The web page that `natscribe up` serves: it is a client of NATS by WebSocket."""

import gzip
import json
import mimetypes
import re
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from natscribe.client import ClientError
from pydantic import TypeAdapter, ValidationError

from app.command.embedded.process import HOST
from app.command.ports import choose_port
from app.runtime.http_host import is_misdirected
from app.settings import Settings

PAGE_PORT, WEBSOCKET_PORT = 8001, 9222  # if they are free
_PORTS_FILE = "page.json"  # with the ports of the last run: pages that are still open continue after a restart
_COMMENTS = re.compile(rb"^ *//.*\n", re.MULTILINE)  # lines of scripts that browsers need not load
_FILES = Path(__file__).parent / "web"  # a link to /web, so that this package has the page


@dataclass(frozen=True)
class PageOptions:
    """Options of the page: its ports, and the origins of other pages that may use the embedded NATS.

    `port`: the port of the page. `websocket_port`: the port of the embedded NATS' WebSocket. None: the port of the last
    run in the same folder if it is free, otherwise PAGE_PORT or WEBSOCKET_PORT if free, otherwise any free port.
    """

    websocket_port: int | None = None
    origins: Sequence[str] = ()
    port: int | None = None


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
        """Serve the page over HTTP until the block ends.

        The page reads the address of NATS and the bucket for recordings from `settings.json`. It can upload recordings
        only to a bucket of NATS, so `bucket` is null there if AUDIO_STORE names another kind of store.
        """
        files = {f"/{path.name}": path.read_bytes() for path in _FILES.iterdir() if path.suffix != ".md"}
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
            return _Server((HOST, self.port), handler)
        except OSError as error:  # it was free when it was chosen
            what = f"Another program has just taken port {self.port} of the page"
            raise ClientError(what, "start again") from error


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Write a traceback to stderr, unless the browser has just ended the connection early."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # passed on as it came


def choose_page(options: PageOptions | None, folder: Path, *, names_nats: bool, http_port: int) -> WebPage | None:
    """Choose the ports of the page and of the WebSocket of NATS, and store them in `folder` for the next run.

    Return None if `options` is None, or if NATS is an external server and no option is set: then there is no page.

    `names_nats`: whether NATS_URL names an external server, which this command cannot open to pages. `http_port`: the
    port of the worker's HTTP server; the page and the WebSocket get other ports.

    Raises:
        ClientError: NATS is an external server, but an option is set that only an embedded one can have; or the port
            that an option names is already in use.
    """
    if options is None or (names_nats and options == PageOptions()):
        return None
    if names_nats:
        what = "NATS_URL names a server, and --page-port, --websocket-port and --origin are for the embedded one"
        raise ClientError(what, "unset NATS_URL, or open the WebSocket of your server as docs/access.md says")
    last = _last_ports(folder / _PORTS_FILE)
    websocket_port = choose_port(
        options.websocket_port, WEBSOCKET_PORT, "--websocket-port", last=last.get("websocket"), besides=[http_port]
    )
    others = [http_port, websocket_port]
    port = choose_port(options.port, PAGE_PORT, "--page-port", last=last.get("page"), besides=others)
    (folder / _PORTS_FILE).write_text(json.dumps({"page": port, "websocket": websocket_port}), encoding="utf-8")
    return WebPage(port, websocket_port, options.origins)


def _last_ports(file: Path) -> dict[str, int]:
    try:
        return TypeAdapter(dict[str, int]).validate_json(file.read_bytes())
    except (OSError, ValidationError):  # there was no run before, or somebody has edited the file
        return {}


def _handler(files: Mapping[str, bytes], policy: str) -> type[BaseHTTPRequestHandler]:
    """Create a handler class that serves files; compressed and without comments, if the browser accepts that.

    `files`: the content of each file by its path in the URL. `policy`: the header Content-Security-Policy of all
    responses; a header is necessary, because a page itself can set only part of such a policy.
    """
    compressed = {path: gzip.compress(_COMMENTS.sub(b"", content), mtime=0) for path, content in files.items()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if is_misdirected(self.headers.get("Host", ""), HOST):
                self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
                return
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
