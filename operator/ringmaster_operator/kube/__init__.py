"""What the operator keeps in a Kubernetes cluster besides replicas, and how it speaks to one.

Law: `client` alone imports the client library; everything else speaks in plain documents.
"""
