"""The performance analysis: the assignment's four experiments, simulated and live."""
