"""gRPC over HTTP/2 without threads: framing, statuses, and calls that are answered by a callback."""
