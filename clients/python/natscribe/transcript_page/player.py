"""Renders the audio player of the page."""

from html import escape

_KEYS = (
    "Space plays and pauses, ← and → move by 5 seconds, with Shift by a paragraph. A click on a word plays from there."
)


def player(recording: str | None) -> str:
    """Return the HTML of the audio player, which plays the recording with this URL.

    If the URL is None, the player is hidden at first: the page's script shows it, with a button to choose the file.
    """
    source, hidden = (f' src="{escape(recording)}"', "") if recording else (" hidden", " hidden")
    return f"""<section aria-label="Recording" id="player"{hidden}>
<audio controls preload="metadata"{source}></audio>
<label hidden><span>Choose the recording to listen:</span> <input type="file" accept="audio/*,video/*"></label>
<button type="button" id="follow" hidden>Back to what is spoken</button>
<small hidden>{_KEYS}</small>
</section>"""
