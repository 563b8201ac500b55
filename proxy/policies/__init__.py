"""The shells of the policies: they await, raise and count; every rule is in the core of the same name."""
