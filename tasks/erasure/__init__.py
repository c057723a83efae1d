"""Taking documents back from every store that they reached, with a receipt."""
