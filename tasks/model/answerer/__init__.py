"""A trained answerer: the candidate, its card, and its registration."""
