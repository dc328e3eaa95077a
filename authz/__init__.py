"""Caregrant: who may view, share or transfer a patient, decided from compiled policies.

The public door: `open_pdp` for reads, and what its answers are made of.
"""

from authz.errors import CaregrantError, InvalidInput, PolicyRefused, PolicyUnknown, Unavailable
from authz.policy.decision import Decision, Derivation, Explanation, MatrixEntry
from authz.policy.pdp import PDP, open_pdp

__all__ = [
    "PDP",
    "CaregrantError",
    "Decision",
    "Derivation",
    "Explanation",
    "InvalidInput",
    "MatrixEntry",
    "PolicyRefused",
    "PolicyUnknown",
    "Unavailable",
    "open_pdp",
]
