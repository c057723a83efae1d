"""Where a document went and where an answer comes from, read from what every step wrote down."""
