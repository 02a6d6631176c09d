"""Reusable constructs, one capability each; usable from any cdktf app."""
