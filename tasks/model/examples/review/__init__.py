"""The review queue: what machines wrote for training and evaluation is a draft until a person decides."""
