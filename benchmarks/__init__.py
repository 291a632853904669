"""Measure procwatch beside the peers that are installed: `python -m benchmarks --help`."""
