"""Certificates for the webhook and for the shared Docker daemons. Never imports webhook."""
