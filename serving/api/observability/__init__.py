"""What a request leaves behind: its id in log, trace and answer, and the figures of all."""
