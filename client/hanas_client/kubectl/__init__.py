"""`kubectl hanas`: HANas resources on Kubernetes, by the user's kubectl."""
