"""What it costs to take a document back: `python -m benchmarks.erasure`."""
