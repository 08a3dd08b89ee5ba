"""The HANas protocol and the format of its folder: no sockets, no threads, no event loop (docs/protocol.md)."""
