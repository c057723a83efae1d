"""Word, Excel and PowerPoint by their own XML."""
