"""All pictures of a ring on one sheet, as a file has them.

Law: pure.
"""

from __future__ import annotations

from ringmaster_balancer.picture import change as changes
from ringmaster_balancer.picture import ring, shares, svg
from ringmaster_balancer.picture import scene as scenes

_GAP = 16.0


def draw(scene: scenes.Scene, change: changes.Change | None = None) -> str:
    """Ring and shares side by side, below them what the last change has moved."""
    right = shares.height(scene) + (changes.HEIGHT + _GAP if change else 0)
    width = ring.SIZE + _GAP + shares.WIDTH
    height = max(ring.SIZE, right)
    parts = [
        _placed(ring.draw(scene), x=0, y=0),
        _placed(shares.draw(scene), x=ring.SIZE + _GAP, y=0),
    ]
    if change is not None:
        below = shares.height(scene) + _GAP
        parts.append(_placed(changes.draw(change), x=ring.SIZE + _GAP, y=below))
    return svg.picture(
        *parts,
        name="sheet",
        width=width,
        height=height,
        title=f"The ring {scene.title}",
        description=scenes.words(scene),
    )


def _placed(picture: str, *, x: float, y: float) -> str:
    return svg.element("g", picture, transform=f"translate({svg.number(x)} {svg.number(y)})")
