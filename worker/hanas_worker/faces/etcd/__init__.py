"""The interface that speaks etcd's v3 API."""
