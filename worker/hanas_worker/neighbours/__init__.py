"""How a worker talks with the other members and the overseers."""
