"""From a question and its passages to a cited answer, or to an abstention that says what was looked at."""
