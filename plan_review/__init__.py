"""Plans without credentials, and plans explained to people."""
