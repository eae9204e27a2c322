"""Text: find loops, gaps, sentences, languages and terms in what a model wrote."""
