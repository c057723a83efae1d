"""Training of the answerer: sequences, objectives, the loop, checkpoints."""
