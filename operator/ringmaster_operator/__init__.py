"""The operator: keeps the replicas of every ServerSet alive and tells the balancers who serves."""

__version__ = "0.1.0"
