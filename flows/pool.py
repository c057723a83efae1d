"""The work pool and the signs of life of its runs, for what runs without Prefect too. Imports nothing."""

WORK_POOL = "almanac"
HEARTBEAT_SECONDS = 30
SILENT_SECONDS = 300
"""A run without a heartbeat for so long is dead. Prefect gives its slot free after the same time."""
