"""The balancer: a consistent-hash ring in front of the replicas of one ServerSet."""

__version__ = "0.1.0"
