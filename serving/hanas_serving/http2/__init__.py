"""HTTP/2: an engine without I/O, the connection around it, and the port that speaks HTTP/1.1 too."""
