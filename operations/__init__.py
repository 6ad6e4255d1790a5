"""What acts on a stack beside `pulumi up`. It knows the settings, never a resource."""
