"""certs: pure rooms, the rotation over a model of a cluster, the commands."""
