"""Caregrant: who may view, share or transfer a patient, decided from compiled policies.

The public door: `open_pdp` for reads, and what its answers are made of.
"""

from authz.decisions import Decision, Explanation, Held, Way
from authz.errors import CaregrantError, InvalidInput, PolicyRefused, PolicyUnknown, Unavailable
from authz.pdp import PDP, open_pdp

__all__ = [
    "PDP",
    "CaregrantError",
    "Decision",
    "Explanation",
    "Held",
    "InvalidInput",
    "PolicyRefused",
    "PolicyUnknown",
    "Unavailable",
    "Way",
    "open_pdp",
]
