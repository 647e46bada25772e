"""The data plane: what happens to a request. One worker process runs one of it."""
