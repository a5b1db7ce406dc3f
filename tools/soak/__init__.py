"""`make soak`: creates that must not fail while certificates rotate and servers are replaced."""
