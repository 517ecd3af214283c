"""The engine: what carries a request. Nothing in here is public."""
