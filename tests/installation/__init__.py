"""dinp as its manifests install it, on a cluster of two nodes."""
