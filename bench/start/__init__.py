"""How soon Docker can be used in a Pod: dinp next to what people write by hand."""
