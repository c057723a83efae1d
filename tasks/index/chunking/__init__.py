"""Documents to chunks: structure, budget, and how much a chunk says."""
