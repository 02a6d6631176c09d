"""The typed, validated form of `environments/` and `teams/`."""
