"""Certificates of the shared Docker daemons and of their clients."""
