"""What claims are checked by: exact terms, contradiction, and a second opinion of the model."""
