"""The spec that was found good last: what a ServerSet is kept to while its spec is refused.

Law: pure. A wrong edit must not end the healing of what serves; it is told, and what was asked
for before it goes on. Kept with the memory, so that an operator that starts anew knows it as well;
the template is not kept twice, its revision has it.
"""

from __future__ import annotations

from typing import Any

from ringmaster_operator import errors, memory, naming, spec

Document = dict[str, Any]

# `template` is in its revision; wishes are done once, and not again by a spec of before.
_NOT_KEPT = frozenset({"template", "names", "scaleDown"})


def of(document: Document) -> memory.Accepted:
    """What to remember of a document that was found good."""
    asked = document["spec"]
    return memory.Accepted(
        spec={field: value for field, value in asked.items() if field not in _NOT_KEPT},
        revision=naming.template_hash(asked["template"]),
    )


def restored(document: Document, value: memory.Memory) -> spec.ServerSet | None:
    """The ServerSet with the spec of before under the metadata of now; None if none is known."""
    known = value.accepted
    if known is None:
        return None
    template = next((r.template for r in value.revisions if r.hash == known.revision), None)
    if not template:
        return None
    try:
        return spec.parse({**document, "spec": {**known.spec, "template": template}})
    except errors.SpecInvalidError:  # the rules have changed, or the metadata is wrong as well
        return None
