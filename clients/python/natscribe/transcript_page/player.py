"""Writes the player of the recording."""

from natscribe.transcript_page.markup import escaped

_KEYS = (
    "Space plays and pauses, ← and → move by 5 seconds, with Shift by a paragraph. A click on a word plays from there."
)


def player(recording: str | None) -> str:
    """Write the player; without the address of the recording, its script lets a person choose the file."""
    source, hidden = (f' src="{escaped(recording)}"', "") if recording else (" hidden", " hidden")
    return f"""<section aria-label="Recording" id="player"{hidden}>
<audio controls preload="metadata"{source}></audio>
<label hidden><span>Choose the recording to listen:</span> <input type="file" accept="audio/*,video/*"></label>
<button type="button" id="follow" hidden>Back to what is spoken</button>
<small hidden>{_KEYS}</small>
</section>"""
