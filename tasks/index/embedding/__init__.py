"""Texts to vectors: the embedder, its files, and the cache of what it embedded before."""
