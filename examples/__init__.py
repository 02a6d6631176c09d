"""Training scripts of the example teams, on real public data, and the helper they publish with."""
