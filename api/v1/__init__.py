"""`/v1`, for practitioners and for the apps that act for them: each view parses, calls one function and serializes.

`requests` and `responses` are the models of the bodies, `query` parses query parameters; each other module is one
subject, and adds its views to the blueprint `v1`.
"""

from api.v1 import emergencies, notifications, patients, provisioning, shares
from api.v1.blueprint import v1

__all__ = ["emergencies", "notifications", "patients", "provisioning", "shares", "v1"]
