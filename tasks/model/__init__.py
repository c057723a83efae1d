"""How it is learnt: examples, splits, training, evaluation, the model gate, registration."""
