"""The Kubernetes objects of a HANas: pure functions that return plain dicts, one concern a file."""
