"""dinp: a mutating admission webhook that gives Pods a Docker daemon."""

__version__ = "0.1.0"
