"""Who was shown what, and who changed what: an append-only log, each record chained to the one before."""
