"""The decision that brings people here: retrieval, fine-tuning, both or neither."""
