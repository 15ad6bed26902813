"""What is remembered of one customer, under the surrogate.

The records are msgspec arrays (tests/benchmarks/core.py says why), so fields are only ever added at the end,
with a default. `streams/state.py` puts the version byte before them.
Times are event times in milliseconds since 1970, 0 where there is none; money is in minor units.
"""

from typing import Final

from msgspec import Struct, field

from schemas.contact_policy import LONGEST_WINDOW_DAYS

RECENT_CONTACTS: Final = 8
"""So many contacts are kept whole."""

RECENT_IDS: Final = 32
"""So many events are remembered by a digest, to recognise one that a source sends twice."""

DIGEST_BYTES: Final = 8
"""Length of such a digest; two of 32 events agree by chance once in 10^16 customers."""

CLOSED_CASES: Final = 32
"""So many closed cases are remembered, so that an opening that arrives late does not open them again."""

OPEN_CASES: Final = 400
"""So many open cases and disputes a customer may have; open ones are never forgotten."""

LONGEST_REFERENCE: Final = 200
"""Bytes in UTF-8 of the reference and the event id of a word on a case. Longer ones are refused and not digested:
people look cases up by their reference, and evidence quotes event ids."""

EVIDENCE: Final = 32
"""So many event ids are kept as evidence of one suppression."""

PROPOSALS: Final = 128
"""So many actions are remembered with when they were last proposed."""

MADE: Final = 128
"""So many contacts that the company made are kept one by one, none for longer than DAYS_KEPT."""

DAYS_KEPT: Final = LONGEST_WINDOW_DAYS + 3
"""So many days are kept one by one: the longest window, and as far as an event may be ahead of the clock, since what
lies ahead must not push out what a window still looks at."""

SEEN: Final = 8
"""So many further displays of one offer are kept."""

HELD: Final = 8
"""So many ended suppressions are remembered with when they began and ended."""

QUEUED: Final = 64
"""So many actions may wait, and one that won beside mandatory ones that fill the queue; with as many waiting,
candidates are ALREADY_QUEUED until some are dispatched or expire."""


class Contact(Struct, array_like=True, gc=False, frozen=True):
    """One contact, whole: how, why and when."""

    at_ms: int
    type: str
    channel: str
    source: str
    event_id: str
    touchpoint: str
    amount_minor: int | None
    reference: str | None
    decision_id: str | None
    attributes: dict[str, str]


class Case(Struct, array_like=True, gc=False, frozen=True):
    """The newest word on one case or dispute; see streams/cases.py for what is newest.

    `place` is 0, or where the word stands in the journal if it was ahead of the clock.
    """

    at_ms: int
    rank: int
    is_dispute: bool
    place: int = 0


class Consent(Struct, array_like=True, gc=False, frozen=True):
    """The newest word on one purpose and channel."""

    at_ms: int
    given: bool


class Hold(Struct, array_like=True, gc=False, frozen=True):
    """A suppression in force, as it was announced."""

    suppression_id: str
    started_ms: int
    evidence: tuple[str, ...]


class Queued(Struct, array_like=True, gc=False, frozen=True):
    """An action that was emitted and is not confirmed as dispatched."""

    action_id: str
    issue: str
    group: str
    treatment_id: str
    channel: str
    action_class: str
    decided_ms: int
    valid_until_ms: int


class Made(Struct, array_like=True, gc=False):
    """A contact that the company made, by our decision or by another tool, and what became of it.

    `at_ms` is when it went out. One that was never confirmed counts at the last moment at which it could have gone out
    (`confirmed` is false) until its channel says otherwise; `sent` says that the channel has reported the dispatch
    itself, and not only what follows from it. `seen` are times of further displays. `outcome` is an Outcome. Of a
    contact by another tool `action_id` is its reference.
    """

    action_id: str
    issue: str
    group: str
    channel: str
    action_class: str
    at_ms: int
    confirmed: bool = True
    delivered_ms: int = 0
    outcome: str = "PENDING"
    outcome_ms: int = 0
    valid_until_ms: int = 0
    seen: list[int] = field(default_factory=list)
    sent: bool = False


class Proposal(Struct, array_like=True, gc=False, frozen=True):
    """When an action was last proposed, and by which decision.

    `before_ms` is when it had been proposed before, 0 if never: what did not reach the customer goes back to it. Then
    `decision_id` is empty, for that time can no longer be taken back.
    """

    at_ms: int
    action_class: str
    decision_id: str = ""
    before_ms: int = 0


class Customer(Struct, array_like=True, gc=False, tag="customer"):
    """One customer. `offset` is the journal offset of the last record folded in.

    `recent` holds encoded contacts (streams/contacts.py reads them): a state is written far more often than one
    of them is looked at, and as bytes they cost a tenth. `recent_ids` is one row of digests of source and event id.
    `activity_14` and `activity_56` are sums over purchases of exp(-age / 14 or 56 days), as of
    `last_purchase_ms`: recency and frequency in one number that no order of arrival changes.
    `types` are rows of streams/aggregates.py; `made` is by decision id, or `~` and a digest for other tools' contacts;
    `made_forgotten_ms` the newest of those that had to be forgotten early; `held` times in pairs, from and until.
    """

    offset: int = -1
    first_seen_ms: int = 0
    last_seen_ms: int = 0
    events: int = 0
    duplicates: int = 0
    purchases: int = 0
    spend_minor: int = 0
    currency: str = ""
    first_purchase_ms: int = 0
    last_purchase_ms: int = 0
    previous_purchase_ms: int = 0
    activity_14: float = 0.0
    activity_56: float = 0.0
    contacts: dict[str, int] = field(default_factory=dict)
    recent: list[bytes] = field(default_factory=list)
    recent_ids: bytes = b""
    cases: dict[str, Case] = field(default_factory=dict)
    consents: dict[str, Consent] = field(default_factory=dict)
    hold: Hold | None = None
    queue: dict[str, Queued] = field(default_factory=dict)
    proposals: dict[str, Proposal] = field(default_factory=dict)
    complaints: int = 0
    last_complaint_ms: int = 0
    messages_sent: int = 0
    offers_presented: int = 0
    offers_accepted: int = 0
    offers_rejected: int = 0
    zone: str = ""
    zone_ms: int = 0
    types: dict[str, list[int]] = field(default_factory=dict)
    made: dict[str, Made] = field(default_factory=dict)
    made_forgotten_ms: int = 0
    held: list[int] = field(default_factory=list)
    last_accept_ms: int = 0
    last_reject_ms: int = 0
