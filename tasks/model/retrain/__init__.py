"""A retrain: what it works from, what MLflow is told of it, and what it found."""
