"""From a stack file to a running registry, in the order in which these modules may import each other:

environment ← distribution ← settings ← runtime ← storage, cache ← registry ← `__main__.py`

The first two are pure, settings reads the stack file, the rest create resources.
"""
