"""What makes `make up` and `make test` work on a bare machine.

Each part is looked for on PATH, then at its vendor's, then built from package mirrors (Go modules
and Debian packages) and kept in a cache. Nothing in `components/` or `__main__.py` imports this.
"""
