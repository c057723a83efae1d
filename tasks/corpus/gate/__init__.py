"""The document gate: what is measured in a document, the rules on it, and the report."""
