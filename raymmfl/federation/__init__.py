"""Federated rounds: what is shared, how it is summed, what links the sensors."""
