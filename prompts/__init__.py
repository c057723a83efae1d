"""The prompts, one Markdown file each: front matter with name and version, then the system and the user message."""
