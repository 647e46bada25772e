"""Where replicas live: one module a runtime, each a translation without decisions."""
