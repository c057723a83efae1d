"""Where a module of ours stands in place of a library: both, on the READMEs of the installed packages."""
