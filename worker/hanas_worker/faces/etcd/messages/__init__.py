"""The messages of etcd's API, generated from the files beside this one by ``make messages``."""
