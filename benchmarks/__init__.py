"""Ratios to peers and to the physical limit, measured in the same run."""
