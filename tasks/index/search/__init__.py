"""Search: requests, the two legs, fusion, reranking, and the passages that are shown."""

from tasks.index.search.hybrid import Index
from tasks.index.search.request import Mode, Request, checked_mode, parse_metadata

__all__ = ["Index", "Mode", "Request", "checked_mode", "parse_metadata"]
