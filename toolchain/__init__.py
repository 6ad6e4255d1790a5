"""Installs what `make up` and `make test` need on a machine without it.

Each part is used if it is on PATH, else fetched from its vendor, else built from package mirrors
(Go modules and Debian packages) and cached. Nothing in `components/` or `__main__.py` imports this
package. It imports only `config`.
"""
