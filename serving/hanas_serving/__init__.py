"""What the overseer and the worker have in common as services: folder threads, HTTP, settings, start and stop."""
