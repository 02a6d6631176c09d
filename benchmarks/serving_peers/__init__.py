"""Servers that `benchmarks/serving.py` measures: each a script that serves one model on one port."""
