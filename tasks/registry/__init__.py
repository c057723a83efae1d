"""The data registry, a git + DVC repository that corpus snapshots and training sets share."""
