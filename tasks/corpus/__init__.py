"""What we know: sources, plan, parsing, the document gate, quarantine, snapshots."""
