"""The overseer: arbitration between workers, events and the dashboard."""
