"""Training and comparing on SQuAD: the data, examples of it, and what was learnt."""
