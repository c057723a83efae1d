"""How far a served answerer may be from its trainer's model: what precision changes, and what a mistake changes."""
