"""Benchmarks, which write their tables into docs/benchmarks.md.

Most results are ratios of values from one run, so they depend little on the machine.
"""
