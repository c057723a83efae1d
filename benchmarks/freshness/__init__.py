"""Whether answers follow documents that changed after training, with retrieval and without."""
