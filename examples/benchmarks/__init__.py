"""The benchmarks of `benchmark.py`, one module for each part of the package."""
