"""Small and tuned beside large and not, both with retrieval, on public question sets."""
