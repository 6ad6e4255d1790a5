"""From a stack file to the registry's configuration. This package imports no Pulumi.

`stack_yaml` reads the file, `settings` has its models, `rules` has the rules between settings, and
`load` validates the file. `plan` builds the configuration and `render` writes it as text.
docs/architecture.md lists all modules.
"""
