"""TLS of a HANas: whose certificates it uses, and those that the operator makes."""
