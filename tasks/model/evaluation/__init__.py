"""Evaluation of an answerer on held-out questions, probes, and the model gate."""
