"""The operator: HANas resources to Kubernetes objects, link failures to NetworkPolicies."""
