"""Bytes to text: formats, encodings, front matter, in a process that can be killed."""
