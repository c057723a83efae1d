"""A house style, taught by fine-tuning and by a prompt: what each does to form and to facts."""
