"""What is to be done about a Pod: the whole Plan, and what stands in its way."""
