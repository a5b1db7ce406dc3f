"""Pods of the guides in docs/ci, as the CI systems make them."""
