"""One line of the plan, and its mark."""

from dataclasses import dataclass

GREEN, AMBER, RED, PLAIN = "green", "amber", "red", ""
ENOUGH = 0.8  # of what this machine has: more is amber


@dataclass(frozen=True)
class Row:
    """One need. ``amount`` in ``unit`` (GB, h, $, points; None: not known), ``value`` in words;
    ``state`` green, amber, red or empty; ``formula`` and ``source`` say where it comes from."""

    section: str
    name: str
    amount: float | None
    unit: str
    value: str
    state: str
    formula: str
    source: str


def held_against(needed: float, available: float) -> str:
    """Green up to four fifths of what is there, amber up to all of it, red above."""
    if needed <= ENOUGH * available:
        return GREEN
    return AMBER if needed <= available else RED
