"""Examples: where they come from, how they are split and gated, and the training set."""
