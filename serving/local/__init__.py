"""Commands of the operator answered by the server that runs over the same home."""
