"""Backups of the home."""
