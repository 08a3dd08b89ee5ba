"""The members of a cluster: what they show of themselves and what they conclude about the main."""
