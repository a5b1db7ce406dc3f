"""dinp inject and uninject: the same, on files."""
