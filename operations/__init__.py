"""What acts on a stack beside `pulumi up`. It knows the settings, never a resource."""


class Blocked(Exception):
    """The stack can't be worked on now; the text says why and what to do."""
