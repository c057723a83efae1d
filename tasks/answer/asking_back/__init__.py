"""Asking back: a short question in place of an excerpt of one of several documents that a question may mean."""
