"""Import a registry from a Docker Compose file."""
