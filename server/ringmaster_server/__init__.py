"""The example server: answers `/home` and `/heartbeat`, and says who it is."""

__version__ = "0.1.0"
