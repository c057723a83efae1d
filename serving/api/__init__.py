"""The HTTP API: routes, keys, limits, errors."""
