"""What is there in a Pod, found once: mounts of the node's Docker, daemons of its own, what its text says."""
