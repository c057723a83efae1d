"""The HTTP API, the chat page, and the hot swap of what answers."""
