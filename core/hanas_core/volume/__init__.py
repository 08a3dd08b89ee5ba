"""The shared folder: its operations, its names, and whether the volume keeps what the protocol needs."""
