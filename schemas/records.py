"""The messages as typed, frozen records: for the edges, where clarity counts more than microseconds.

Each has `from_dict` and `to_dict` to and from the plain dicts of schemas.codec. All times are milliseconds since
1970 (`_at`, `time`), money is in minor units (`_minor`), probabilities are in [0, 1]. Reasons and event types are
text, since a newer writer may know more of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints

from schemas.codec import EMBEDDED, Codec, Record
from schemas.vocabulary import (
    ActionClass,
    Channel,
    DecisionKind,
    DocumentKind,
    ScopeKind,
    SuppressionReason,
    SuppressionStatus,
)


class Message:
    """What every record can do. A subclass that is a message of its own is named as its schema."""

    __slots__ = ()

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Build it from a decoded record; KeyError or ValueError when that is another one."""
        return _build(cls, record)  # type: ignore[no-any-return]

    def to_dict(self) -> Record:
        """Return it as the plain dict that the codec encodes."""
        return _plain(self)  # type: ignore[no-any-return]

    @classmethod
    def decode(cls, value: bytes | None, codec: Codec = EMBEDDED) -> Self:
        """Read it from a framed value; errors as Codec.decode."""
        return cls.from_dict(codec.decode(value, cls.__name__))

    def encode(self, codec: Codec = EMBEDDED) -> bytes:
        """Write it as a framed value; errors as Codec.encode."""
        return codec.encode(type(self).__name__, self.to_dict())


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalData(Message):
    """Personal fields in the clear."""

    identifiers: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedData(Message):
    """Personal fields under a key of the customer's: AES-256-GCM, nonce of 12 bytes, tag at the end."""

    key_id: str
    nonce: bytes
    ciphertext: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction(Message):
    """What a customer did, or what was done to reach the customer."""

    type: str
    event_id: str
    occurred_at: int
    channel: Channel = Channel.OTHER
    source: str = ""
    touchpoint: str = ""
    amount_minor: int | None = None
    currency: str = ""
    reference: str | None = None
    decision_id: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    personal: PersonalData | EncryptedData | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick(Message):
    """The clock of a partition."""

    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark(Message):
    """A producer's promise that nothing older follows, sent to all `partitions` of its topic."""

    time: int
    partitions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation(Message):
    """From here on this document decides; `sequence` is the offset of its approval, -1 where that is not known yet."""

    kind: DocumentKind
    name: str
    version: str
    sha256: str
    sequence: int = -1
    approved_by: str
    approved_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Split(Message):
    """From here on the journal's customers are spread over `split_to` partitions.

    `cut` is -1 in an old partition; in a new one the offset of the old one's Split, before which all was copied.
    """

    split_to: int
    cut: int = -1


@dataclass(frozen=True, slots=True)
class Control(Message):
    """A control record of the journal, or an in-band watermark."""

    body: Tick | Watermark | Activation | Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger(Message):
    """The event that asked for a decision."""

    event_id: str
    type: str
    occurred_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors(Message):
    """The factors whose product is the priority."""

    propensity: float
    context_weight: float
    value: float
    lever: float


@dataclass(frozen=True, slots=True)
class Candidate(Message):
    """One candidate and the reason code that it ended with."""

    action_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRef(Message):
    """A policy or model document."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NextBestAction(Message):
    """One decision for one customer."""

    decision_id: str
    kind: DecisionKind
    customer: str
    action_id: str | None = None
    issue: str = ""
    group: str = ""
    treatment_id: str = ""
    channel: Channel = Channel.OTHER
    action_class: ActionClass = ActionClass.MARKETING
    decided_at: int
    valid_until: int
    trigger: Trigger
    priority: float = 0.0
    factors: Factors | None = None
    churn_risk: float | None = None
    value_at_risk_minor: int | None = None
    reason: str
    candidates: tuple[Candidate, ...] = ()
    policy: DocumentRef | None = None
    model: DocumentRef | None = None
    recalls: str | None = None
    content: Mapping[str, str] = field(default_factory=dict)
    placement: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression(Message):
    """A contract not to contact, started or lifted."""

    suppression_id: str
    status: SuppressionStatus
    customer: str
    scope_kind: ScopeKind
    scope: str = ""
    reason: SuppressionReason
    evidence: tuple[str, ...] = ()
    release_condition: str
    started_at: int
    lifted_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Position(Message):
    """The last journal record that a state contains."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerState(Message):
    """What is known of one customer at a position of the journal."""

    customer: str
    position: Position
    first_seen_at: int
    last_seen_at: int
    purchases: int = 0
    spend_minor: int = 0
    last_purchase_at: int | None = None
    contacts: Mapping[str, int] = field(default_factory=dict)
    open_disputes: tuple[str, ...] = ()
    consents: Mapping[str, bool] = field(default_factory=dict)
    churn_risk: float | None = None
    suppressions: tuple[str, ...] = ()
    queued: tuple[str, ...] = ()
    scored_by: DocumentRef | None = None
    events: int = 0
    currency: str = ""
    first_purchase_at: int | None = None
    open_cases: int = 0
    complaints: int = 0
    messages_sent: int = 0
    offers_presented: int = 0
    offers_accepted: int = 0
    offers_rejected: int = 0
    zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterEnvelope(Message):
    """The original value of a dead letter that held personal data, encrypted."""

    key_id: str
    nonce: bytes
    ciphertext: bytes


@cache
def _hints(record: Any) -> dict[str, Any]:
    return get_type_hints(record)


def _build(hint: Any, value: Any) -> Any:
    origin = get_origin(hint)
    if origin is UnionType:
        return None if value is None else _build(_branch(hint, value), value)
    if origin is tuple:
        return tuple(_build(get_args(hint)[0], item) for item in value)
    if origin is Mapping:
        return dict(value)
    if issubclass(hint, Message):
        hints = _hints(hint)
        return hint(**{item.name: _build(hints[item.name], value[item.name]) for item in fields(hint)})
    if issubclass(hint, Enum):
        return hint(value)
    return value


def _branch(hint: Any, value: Any) -> Any:
    branches = [branch for branch in get_args(hint) if branch is not NoneType]
    if len(branches) == 1:
        return branches[0]
    for branch in branches:
        if {item.name for item in fields(branch)} == set(value):
            return branch
    raise ValueError(f"a record with {', '.join(value)} is none of {', '.join(b.__name__ for b in branches)}")


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value
