"""What the Makefile runs: never part of the product."""
