"""How often an ambiguous question is asked back, and a clear one wrongly."""
