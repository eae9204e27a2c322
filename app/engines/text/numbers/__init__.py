"""Numbers in a text, spoken or written: where they are, which digits they have, and the text with them in digits.

`reading.py` reads numbers; `digits.py` writes those in digits that cannot mean anything else; `lexicon.py` has the
words of a language. Nothing here depends on segments: all positions are characters of a text.
"""
