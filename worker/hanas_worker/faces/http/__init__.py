"""The HTTP interface of a worker."""
