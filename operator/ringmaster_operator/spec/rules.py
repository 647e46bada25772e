"""What makes sense in a ServerSet: rules across fields, and about names, labels and URLs.

Law: pure. A rule is a function of the model and one line in the table at the end, which says what
it reads. It runs only where the shape is sound, so a fault is never reported twice, and one never
hides another.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

from ringmaster_operator import errors, naming
from ringmaster_operator.spec import pod, pod_rules, resource, ring_rules, shape, syntax, template

Faults = Iterator[errors.Fault]

_MAX_NAME = 40  # leaves room for `emergency-…-<ordinal>-<5 characters>` in a DNS label
_MAX_ANNOTATIONS = 262_144  # bytes, all together: Kubernetes' TotalAnnotationSizeLimitB
_SLOTS_A_MEMBER = 650  # below, shares differ by more than about 10 % (√(1/650) = 4 % deviation)


def faults(value: resource.ServerSet, *, broken: shape.Broken) -> Faults:
    """Everything that makes no sense in what is not `broken`, the pod template included."""
    for rule, reads in _RULES:
        if not broken.touches(*reads):
            yield from rule(value)
    if not any(broken.touches((*_RING, field)) for field in _RING_FIELDS):
        yield from _ring(value, broken)
    if not broken.touches(("spec", "template")):
        view, in_template, inner = pod.read(value.spec.template)
        yield from in_template
        yield from pod_rules.faults(view, broken=inner)
        if not inner.touches(("metadata", "labels")):
            yield from _template_labels(value, view, broken)
        if not inner.touches(("metadata", "annotations")):
            where = "spec.template.metadata.annotations"
            yield from _annotation_faults(where, view.metadata.annotations)
        if not inner.touches(("spec", "containers")):
            yield from template.faults(view)


def faults_of_change(old: resource.ServerSet, new: resource.ServerSet) -> tuple[errors.Fault, ...]:
    """What a change must leave alone."""
    if old.spec.selector == new.spec.selector:
        return ()
    return (errors.Fault(path="spec.selector", message="is immutable"),)


def faults_of_status(value: resource.Status, *, broken: shape.Broken) -> tuple[errors.Fault, ...]:
    """A list by type (`x-kubernetes-list-map-keys`) has each once."""
    if broken.touches(("conditions",)):
        return ()
    return tuple(_repeated(value.conditions))


def warnings(value: resource.ServerSet, *, balancers: bool = False) -> tuple[str, ...]:
    """What is allowed but hardly meant; one line each, the field's path first.

    `balancers`: the operator has some for ServerSets that name none.
    """
    return tuple(_warnings(value.spec, balancers=balancers))


def _warnings(spec: resource.Spec, *, balancers: bool) -> Iterator[str]:
    slots = ring_rules.slots(spec.ring)
    if slots and spec.ring.scheme != "classic" and slots < _SLOTS_A_MEMBER * spec.replicas:
        yield (
            f"spec.ring.slots: {slots} slots for {spec.replicas} replicas are fewer than "
            f"{_SLOTS_A_MEMBER} each: shares will be uneven"
        )
    if spec.balancer.selector is None and not spec.balancer.urls and not balancers:
        yield "spec.balancer: neither selector nor urls: no balancer will know of the replicas"
    if pod.read(spec.template)[0].spec.containers[0].readiness_probe is None:
        yield (
            "spec.template.spec.containers[0].readinessProbe: none: a replica counts as ready as "
            "soon as it runs"
        )


def _metadata(value: resource.ServerSet) -> Faults:
    name, namespace = value.metadata.name, value.metadata.namespace
    if not syntax.is_dns_label(name) or len(name) > _MAX_NAME:
        yield _fault(
            "metadata.name",
            f"must be at most {_MAX_NAME} lower-case letters, digits and '-', a letter or digit "
            f"at both ends, not {shape.brief(name)}",
        )
    if not syntax.is_dns_label(namespace):
        yield _fault(
            "metadata.namespace",
            f"must be at most 63 lower-case letters, digits and '-', a letter or digit at both "
            f"ends, not {shape.brief(namespace)}",
        )
    yield from _label_faults("metadata.labels", value.metadata.labels)


def _metadata_fields(value: resource.ServerSet) -> Faults:
    """Of the fields that are kept unread, those that look like a slip."""
    known = [field.alias or name for name, field in resource.Metadata.model_fields.items()]
    meta = {field.alias for field in resource.ObjectMeta.model_fields.values()}
    strangers = (name for name in value.metadata.model_extra or () if name not in meta)
    for name in itertools.islice(strangers, shape.MAX_FAULTS):
        message = shape.unknown(name, known)
        if "did you mean" in message:
            yield _fault(shape.path((name,), prefix="metadata"), message)


def _selector(value: resource.ServerSet) -> Faults:
    yield from _label_faults("spec.selector.matchLabels", value.spec.selector.match_labels)


def _template_labels(value: resource.ServerSet, view: pod.Template, broken: shape.Broken) -> Faults:
    """The template's labels, and the selector within them."""
    where = "spec.template.metadata.labels"
    labels = view.metadata.labels
    yield from _label_faults(where, labels)
    for key in labels:
        if key.startswith(f"{naming.GROUP}/"):
            yield _fault(f"{where}[{key}]", "is set by Ringmaster itself")
    if broken.touches(("spec", "selector")):
        return
    wanted = value.spec.selector.match_labels
    if any(labels.get(key) != text for key, text in wanted.items()):
        yield _fault(where, f"must hold spec.selector.matchLabels {shape.brief(wanted)}")


def _label_faults(where: str, labels: Mapping[str, str]) -> Faults:
    """Kubernetes' syntax of labels."""
    for key, value in labels.items():
        if not syntax.is_label_key(key):
            yield _fault(where, f"{shape.brief(key)} is no name of a label")
        if not syntax.is_label_value(value):
            yield _fault(
                shape.path((key,), prefix=where),
                f"must be at most 63 letters, digits, '-', '_' and '.', a letter or digit at both "
                f"ends, not {shape.brief(value)}",
            )


def _annotations(value: resource.ServerSet) -> Faults:
    yield from _annotation_faults("metadata.annotations", value.metadata.annotations)


def _annotation_faults(where: str, annotations: Mapping[str, str]) -> Faults:
    """Kubernetes' rules: names as labels have them, in any case; values of any text."""
    for key in annotations:
        if not syntax.is_label_key(key.lower()):
            yield _fault(where, f"{shape.brief(key)} is no name of an annotation")
    size = sum(len(text.encode()) for pair in annotations.items() for text in pair)
    if size > _MAX_ANNOTATIONS:
        yield _fault(where, f"must have at most {_MAX_ANNOTATIONS} bytes, not {size}")


def _maximum(value: resource.ServerSet) -> Faults:
    spec = value.spec
    if spec.replicas > spec.max_replicas:
        yield _fault(
            "spec.replicas",
            f"must be at most maxReplicas ({spec.max_replicas}), not {spec.replicas}",
        )


def _names(value: resource.ServerSet) -> Faults:
    seen: set[str] = set()
    for index, name in enumerate(value.spec.names):
        where = f"spec.names[{index}]"
        if not syntax.is_replica_name(name):
            yield _fault(
                where,
                "must be at most 63 letters, digits, '_', '.' and '-', a letter or digit first, "
                f"not {shape.brief(name)}",
            )
        # An object's name on Kubernetes is the lower-cased one.
        if name.lower() in seen:
            yield _fault(where, f"must be unique, whatever its case: {shape.brief(name)}")
        seen.add(name.lower())


def _strategy_type(value: resource.ServerSet) -> Faults:
    strategy = value.spec.strategy
    if strategy.type == "Recreate" and "rolling_update" in strategy.model_fields_set:
        yield _fault("spec.strategy.rollingUpdate", "must not be set when type is Recreate")


def _rolling_update(value: resource.ServerSet) -> Faults:
    update = value.spec.strategy.rolling_update
    if not any(resource.number(amount) for amount in (update.max_surge, update.max_unavailable)):
        yield _fault(
            "spec.strategy.rollingUpdate", "maxSurge and maxUnavailable must not both be 0"
        )
    amount = update.max_unavailable
    if isinstance(amount, str) and resource.number(amount) > 100:  # noqa: PLR2004 – percent
        yield _fault(
            "spec.strategy.rollingUpdate.maxUnavailable", f"must be at most 100%, not {amount}"
        )


def _deadline(value: resource.ServerSet) -> Faults:
    spec = value.spec
    if spec.progress_deadline_seconds <= spec.min_ready_seconds:
        yield _fault(
            "spec.progressDeadlineSeconds",
            f"must be greater than minReadySeconds ({spec.min_ready_seconds}), "
            f"not {spec.progress_deadline_seconds}",
        )


def _ring(value: resource.ServerSet, broken: shape.Broken) -> Faults:
    replicas = None if broken.touches(("spec", "replicas")) else value.spec.replicas
    yield from ring_rules.faults(value.spec.ring, replicas=replicas)


def _ring_key(value: resource.ServerSet) -> Faults:
    yield from ring_rules.key_faults(value.spec.ring)


def _balancer(value: resource.ServerSet) -> Faults:
    balancer = value.spec.balancer
    if balancer.selector and balancer.urls:
        yield _fault("spec.balancer.urls", "must not be set together with selector")
    if balancer.selector:
        where = "spec.balancer.selector.matchLabels"
        yield from _label_faults(where, balancer.selector.match_labels)
    seen: set[tuple[str, str, int]] = set()
    for index, url in enumerate(balancer.urls):
        where = f"spec.balancer.urls[{index}]"
        server = syntax.server_of(url)
        if server is None:
            said = shape.brief(url)
            yield _fault(where, f'must be a URL such as "http://10.0.0.7:5001", not {said}')
        elif server in seen:
            yield _fault(where, "must be unique")
        else:
            seen.add(server)


def _repeated(conditions: Sequence[resource.Condition]) -> Faults:
    seen: set[str] = set()
    for index, each in enumerate(conditions):
        if each.type in seen:
            said = f"must be unique: {shape.brief(each.type)} is there already"
            yield _fault(f"status.conditions[{index}]", said)
        seen.add(each.type)


def _fault(path: str, message: str) -> errors.Fault:
    return errors.Fault(path=path, message=message)


_RING: shape.Loc = ("spec", "ring")
_RING_FIELDS = ("scheme", "hash", "slots", "virtualNodes", "probing")
_STRATEGY: shape.Loc = ("spec", "strategy")
_RULES: tuple[tuple[Callable[[resource.ServerSet], Faults], tuple[shape.Loc, ...]], ...] = (
    (_metadata, (("metadata", "name"), ("metadata", "namespace"), ("metadata", "labels"))),
    (_metadata_fields, ()),
    (_annotations, (("metadata", "annotations"),)),
    (_maximum, (("spec", "replicas"), ("spec", "maxReplicas"))),
    (_selector, (("spec", "selector"),)),
    (_names, (("spec", "names"),)),
    (_deadline, (("spec", "minReadySeconds"), ("spec", "progressDeadlineSeconds"))),
    (_strategy_type, ((*_STRATEGY, "type"),)),
    (_rolling_update, ((*_STRATEGY, "rollingUpdate"),)),
    (_ring_key, ((*_RING, "key"),)),
    (_balancer, (("spec", "balancer", "selector"), ("spec", "balancer", "urls"))),
)
