"""From a stack file to a running registry. These modules import each other in one direction:

environment ← distribution ← settings ← runtime ← storage, cache ← registry ← `__main__.py`

The first two are pure, settings reads the stack file, the rest create resources.
"""
