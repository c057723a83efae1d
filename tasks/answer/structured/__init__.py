"""Answers that are one JSON value of a form that the asker names."""
