"""How it is found: chunks, vectors, the LanceDB table, search, the index gate, releases."""
