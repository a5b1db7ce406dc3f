"""What a container starts in the end: whether that is a Docker daemon."""
