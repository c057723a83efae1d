"""How the house writes: a score of form learnt from its own answers, and rules of a style guide."""
