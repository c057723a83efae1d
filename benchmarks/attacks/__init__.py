"""Attacks by documents, questions and ratings: what reaches a reader, with each defence off and on."""
