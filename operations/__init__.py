"""Commands on a stack, beside `pulumi up`."""
