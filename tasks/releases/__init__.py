"""One lifecycle for what serves: index, answerer and embedder."""
