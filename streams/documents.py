"""Policies and models made ready, by the digest of their bytes."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from schemas.model import InvalidModel, read_model
from schemas.policy import InvalidPolicy
from schemas.policy_reader import read_policy
from streams.errors import DocumentMissing
from streams.partition import Active
from streams.plan import Plan
from streams.risk import Scorer

Loaded = TypeVar("Loaded")


class Documents:
    """Reads each document once. What it remembers follows from the bytes alone, so it is no state."""

    def __init__(self, raw: Mapping[str, bytes]) -> None:
        """Take documents by SHA-256 in hex; the mapping may fill up later."""
        self._raw = raw
        self._plans: dict[str, Plan] = {}
        self._scorers: dict[str, Scorer] = {}

    def plan(self, active: Active | None) -> Plan | None:
        """Return a policy made ready, None for none; raises DocumentMissing also where it cannot be read."""
        if active is None:
            return None
        plan = self._plans.get(active.sha256)
        if plan is None:
            plan = self._plans[active.sha256] = self._read(lambda raw: Plan(read_policy(raw)), active)
        return plan

    def scorer(self, active: Active | None) -> Scorer | None:
        """Return a model made ready, None for none; raises DocumentMissing also where it cannot be read."""
        if active is None:
            return None
        scorer = self._scorers.get(active.sha256)
        if scorer is None:
            scorer = self._scorers[active.sha256] = self._read(lambda raw: Scorer(read_model(raw)), active)
        return scorer

    def _read(self, read: Callable[[bytes], Loaded], active: Active) -> Loaded:
        """Read a document that was valid when it was approved; if it no longer is, no event is to blame."""
        try:
            return read(self._bytes(active))
        except (InvalidPolicy, InvalidModel) as error:
            raise DocumentMissing(
                f"document {active.name} {active.version} is active but this release cannot read it: {error}; "
                "start the release that activated it"
            ) from error

    def _bytes(self, active: Active) -> bytes:
        raw = self._raw.get(active.sha256)
        if raw is None:
            raise DocumentMissing(
                f"document {active.name} {active.version} (sha256 {active.sha256[:12]}...) is active but not here; "
                "publish it again, the partition waits for it"
            )
        return raw
