"""Postprocessing of recognized text: hallucination loops, gaps, sentences, languages and vocabulary."""
