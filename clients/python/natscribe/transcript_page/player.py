"""The bar that plays the recording."""

from natscribe.transcript_page.markup import escaped

_KEYS = (
    "Space plays and pauses, ← and → move by 5 seconds, with Shift by a paragraph. A click on a word plays from there."
)


def player(recording: str | None) -> str:
    """Write the bar; without a link to the recording it asks for the file, if scripts run."""
    source, hidden = (f' src="{escaped(recording)}"', "") if recording else (" hidden", " hidden")
    return f"""<section aria-label="Recording" id="player"{hidden}>
<audio controls preload="metadata"{source}></audio>
<label hidden><span>Choose the recording to listen:</span> <input type="file" accept="audio/*,video/*"></label>
<button type="button" id="follow" hidden>Back to what is spoken</button>
<small hidden>{_KEYS}</small>
</section>"""
