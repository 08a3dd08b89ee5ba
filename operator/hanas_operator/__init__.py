"""The operator: it turns HANas resources into Kubernetes objects, and link failures into NetworkPolicies."""
