"""A refresh beside its peers, and how a benchmark measures."""
