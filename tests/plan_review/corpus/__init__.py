"""Seeded changes: each is a pair of inputs or of synthesized stacks, and what a review must say of it."""
