"""A refresh: what it works from, and what it did."""
