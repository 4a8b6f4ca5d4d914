"""Many workers and machines: hosts in network namespaces, and how much faster more of them are."""
