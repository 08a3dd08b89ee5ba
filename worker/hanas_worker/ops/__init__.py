"""What operators see of a worker, and the application that its port for clients serves."""
