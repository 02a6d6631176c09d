"""The `modelyard` command: thin, it calls the rooms it serves."""
