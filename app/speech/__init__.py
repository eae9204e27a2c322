"""The work: a recording becomes windows of speech, text and turns, and these a result."""
