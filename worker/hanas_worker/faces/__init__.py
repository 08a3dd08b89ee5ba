"""What clients speak with a worker, one package for each protocol."""
