"""What runs beside dockerd in each Pod of the shared daemons: `dinp daemon`. See keeper/cli.py."""
