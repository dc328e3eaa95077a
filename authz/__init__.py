"""Caregrant decides who may view, share or transfer a patient, by compiled policies.

This module is the public interface: `open_pdp`, and the classes of its answers and errors.
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
