"""What the traces of live answers say: whether something has become worse, and what to do about it."""
