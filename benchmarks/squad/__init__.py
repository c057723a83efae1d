"""Training and comparing on SQuAD: the material, examples of it, and what was learnt."""
