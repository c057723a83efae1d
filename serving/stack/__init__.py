"""`almanac up`: all servers from one command."""
