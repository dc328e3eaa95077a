"""The policy by which a process decides: it follows activations, without losing a request.

A process begins with the policy that was last activated in its database; if none ever was, with the policy of its
folder. `follow` reads the last activation, which costs one row, and if it is another one, compiles its policy, writes
the plans that the old one had, and only then replaces `pdp`. Whoever took `pdp` before goes on with the old one: each
request takes it once, so that one version answers all of it.

A policy that this process cannot take, such as one whose text was changed, is not taken: the process decides by the old
policy, and `fault` says why.
"""

import logging
from pathlib import Path

from authz.database import Database, Limits, close_all, connect, require_current
from authz.errors import CaregrantError, Fault, PolicyRefused, Unavailable
from authz.policy.compiler import CompiledPolicy, load
from authz.policy.history import compile_version, last_activation
from authz.policy.pdp import PDP

_log = logging.getLogger("caregrant")


class ServedPolicy:
    """The PDP by which a process decides now, `pdp`, and the `fault` that keeps it from the activated policy.

    `only` is the one version that this process may serve, empty for any.
    """

    def __init__(self, pdp: PDP, number: int = 0, only: str = "") -> None:
        self.pdp = pdp
        self.fault = ""
        self._first = pdp
        self._number = number
        self._only = only

    def follow(self) -> bool:
        """Take the policy that was activated last, if it is another one; return whether it was taken.

        The old policy stays if the database does not answer: then no policy decides anything. If the database answers,
        but does not give the policy, that is a fault.
        """
        try:
            latest = last_activation(self._first.database)
        except Unavailable:
            return False
        if latest is None or latest.number == self._number:
            self.report("")
            return False
        try:
            pdp = self._pdp_of(latest.version)
        except CaregrantError as error:
            self.report(str(error))
            return False
        self.pdp, self._number = pdp, latest.number
        self.report("")
        _log.warning("the policy %s was activated and decides from now on", pdp.version[:12])
        return True

    def _pdp_of(self, version: str) -> PDP:
        """Return the PDP of a version that is kept, with the plans that the old one has made."""
        if self._only not in ("", version):
            raise _other_version("the activated policy", version, self._only)
        pdp = self._first.of_version(version)
        pdp.prepare_as(self.pdp)
        return pdp

    def report(self, fault: str) -> None:
        """Remember why the activated policy is not taken, empty if it is; log it once."""
        if fault and fault != self.fault:
            _log.error("the activated policy is not taken, %s still decides: %s", self.pdp.version[:12], fault)
        self.fault = fault


def open_served_policy(
    url: str, folder: str | Path, *, only: str = "", folder_version: str = "", limits: Limits | None = None
) -> ServedPolicy:
    """Return the policy that a database has activated, or else that of a folder, on this database.

    `only` is the one version that may be served, `folder_version` the one that the folder must have; empty for any.
    Raises `PolicyRefused` for another version and for a policy that cannot be compiled, `PolicyUnknown` for an
    activated one whose text is not kept as it was, and `Unavailable` and `InvalidInput` as `open_pdp`.
    """
    database = connect(url) if limits is None else connect(url, limits=limits)
    require_current(database)
    try:
        number, policy = _read_activated(database)
        if policy is None:
            policy = load(folder)
            _require_version(str(folder), policy, folder_version)
        _require_version(str(folder) if number == 0 else "the activated policy", policy, only)
    except CaregrantError:
        close_all(database)
        raise
    return ServedPolicy(PDP(database, policy), number, only)


def active_policy(database: Database, folder: str | Path) -> CompiledPolicy:
    """Return the policy that an open database has activated, or else that of a folder; raises as `open_pdp`."""
    return _read_activated(database)[1] or load(folder)


def _read_activated(database: Database) -> tuple[int, CompiledPolicy | None]:
    activation = last_activation(database)
    return (0, None) if activation is None else (activation.number, compile_version(database, activation.version))


def _require_version(name: str, policy: CompiledPolicy, version: str) -> None:
    """Raise `PolicyRefused` if a policy has another version than the required one; empty stands for any."""
    if version not in ("", policy.version):
        raise _other_version(name, policy.version, version)


def _other_version(name: str, version: str, required: str) -> PolicyRefused:
    return PolicyRefused([Fault(name, 0, 0, f"is of version {version}, not {required}")])
