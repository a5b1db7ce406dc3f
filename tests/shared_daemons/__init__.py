"""The shared daemons of both kinds on a cluster of two nodes."""
