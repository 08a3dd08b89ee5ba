"""From a HANas to Kubernetes objects: pure functions that return plain dicts, one concern a file."""
