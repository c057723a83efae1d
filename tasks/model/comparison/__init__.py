"""The comparison of strategies: quality, latency, cost."""
