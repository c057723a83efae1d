"""Tuning of the embedding model on questions and the chunks that answer them."""
