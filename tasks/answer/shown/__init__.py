"""What of a text may be shown: where its links may lead."""
