"""Multi-modal federated learning across satellite archives, simulated and tuned on Ray."""

__version__ = "0.2.0"
