"""What belongs to the process: settings, lanes, clock."""
