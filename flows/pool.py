"""The work pool and the signs of life of its runs, for what runs without Prefect too. Imports nothing."""

WORK_POOL = "almanac"
"""Of an installation without a tenant; one with a tenant has its own."""
HEARTBEAT_SECONDS = 30
SILENT_SECONDS = 75
"""A run without a heartbeat for so long is dead: two were missed."""
PENDING_SECONDS = 300
"""A run that a worker took starts within this time: it imports first, and has no heartbeat before."""
SINCE = "On this schedule since "
"""Begins the description of a deployment, which a moment ends."""
