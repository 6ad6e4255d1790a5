"""The toolchain: it installs the programs and images that `make up` and `make test` need.

A part that is already installed is used. Otherwise it is fetched from its vendor, or built from
package mirrors (Go modules and Debian packages) and cached.

This package may import the standard library and these modules of `config`: `docker_engine`,
`releases` and `stack_yaml`. `language_host` is the exception: it is a separate program, and also
imports Pulumi's SDK and gRPC. `__main__.py`, `config/`, `components/` and `operations/` must not
import this package.
"""
