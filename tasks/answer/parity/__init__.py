"""Parity: what a trained answerer said where it was trained, held against what it says where it serves."""
