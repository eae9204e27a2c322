"""Renders a result as an HTML page with an audio player: a single file that loads nothing from other hosts.

All text of a result is untrusted. So each text is escaped, and the page's content security policy contains the hash of
the page's own script: a browser runs no other script.
"""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files

from natscribe.schemas.kinds import Result
from natscribe.schemas.transcription import TranscriptionResult
from natscribe.transcript_page.body import body
from natscribe.transcript_page.heading import about, heading
from natscribe.transcript_page.markup import name_of
from natscribe.transcript_page.player import player
from natscribe.transcript_page.speakers import speakers_of

__all__ = ["page"]


def page(result: Result, recording: str | None = None) -> str:
    """Return a result as an HTML page; `recording` is the URL from which its player loads the recording, if known."""
    speakers = speakers_of(result)
    what = "transcript" if isinstance(result, TranscriptionResult) else "speakers"
    style, script = _file("page.css"), _file("page.js")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_policy(style, script)}">
<meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{escape(name_of(result))}: {what}</title>
<style>{style}</style>
</head>
<body>
{heading(result, speakers)}
{body(result, speakers)}
{about(result)}
{player(recording)}
<script>{script}</script>
</body>
</html>
"""


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "media-src 'self' file: blob:; base-uri 'none'; form-action 'none'"
    )


def _hash(source: str) -> str:
    return f"sha256-{b64encode(sha256(source.encode()).digest()).decode()}"


@cache
def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
