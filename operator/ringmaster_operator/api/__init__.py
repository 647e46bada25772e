"""The local operator's HTTP API, shaped like Kubernetes', for our CLI and for kubectl.

What is there (JSON; errors are `Status` documents; `B` stands for
`/apis/ringmaster.dev/v1alpha1/namespaces/NAMESPACE/serversets`):

    GET    /apis/ringmaster.dev/v1alpha1/serversets      of all namespaces; as below
    GET    B   ?labelSelector= &fieldSelector=metadata.name= &watch=true &resourceVersion=
               &timeoutSeconds= &allowWatchBookmarks=true     → ServerSetList, or a line an event
    POST   B                                             201; ?dryRun=All writes nothing, here as below
    GET    B/NAME      PUT B/NAME      PATCH B/NAME (merge patch or JSON patch)
    DELETE B/NAME                                        200 with the object: gone once drained
    GET    B/NAME/replicas                               ReplicaList: what was seen last
    GET, PUT, PATCH B/NAME/scale, B/NAME/status
    GET    /api/v1/namespaces/NAMESPACE/events ?fieldSelector=involvedObject.name=,involvedObject.uid=
    GET    /healthz /livez /readyz /version /api /apis /openapi/v3 …
    POST   /lab/v1/namespaces/NAMESPACE/serversets/NAME/add and /rm   {"n": 2, "hostnames": ["S5"]}
    GET    /lab/v1/namespaces/NAMESPACE/serversets/NAME/rep

`Accept: application/json;as=Table;v=v1;g=meta.k8s.io` gives Tables, in watches too.
`make_app(store, token=, hooks=)` makes it, `serve(app, host, port)` is a context manager that
serves it from a thread and gives the port.
"""

from ringmaster_operator.api.app import make_app
from ringmaster_operator.api.resources import Hooks
from ringmaster_operator.api.serving import serve

__all__ = ["Hooks", "make_app", "serve"]
