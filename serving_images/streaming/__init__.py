"""The streaming image: scores messages, and acknowledges them once row and answer are safe. See README.md."""
