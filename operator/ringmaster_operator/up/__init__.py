"""`ringmaster up` and `down`: one module a concern; `foreground` is the command itself."""
