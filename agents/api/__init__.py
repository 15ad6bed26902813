"""The HTTP service: what the views say of one customer, to whoever is allowed to ask."""
