"""The commands of `python -m operations`, one module for each."""
