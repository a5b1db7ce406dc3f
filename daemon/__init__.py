"""What runs beside dockerd in each Pod of the shared daemons: `dinp daemon`. See daemon/cli.py."""
