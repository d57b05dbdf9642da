"""Measurements that docs/results.md quotes. Each is one command and prints one table."""
