"""What certs decides for the shared daemons and their clients."""
