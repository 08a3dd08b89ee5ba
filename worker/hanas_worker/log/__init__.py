"""How a worker serves, follows and maintains one log."""
