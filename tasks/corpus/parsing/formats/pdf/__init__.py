"""PDF pages: characters with their places by pdfium, then lines, columns, tables and paragraphs."""
