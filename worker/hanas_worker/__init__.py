"""The worker: serves clients, sends keep-alives, and writes or follows the log."""
