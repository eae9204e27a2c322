"""Text: find loops, holes, sentences, languages and terms in what a model wrote."""
