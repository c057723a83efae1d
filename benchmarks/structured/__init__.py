"""What it costs to hold a model in this process to a JSON schema."""
