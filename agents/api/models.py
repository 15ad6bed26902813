"""What the answers are made of, for OpenAPI.  Answers are written by msgspec; a test holds the two together."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from agents.api.answers import HeldBecause
from schemas.vocabulary import ActionClass, Channel

SURROGATE = "fc921f7b80431d6e8e7e68da06dfec1d"


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Freshness(_Answer):
    """How far the view of a customer goes."""

    partition: int = Field(description="journal partition of the customer", examples=[2])
    position: int = Field(description="journal offset up to which the view goes, -1 for none", examples=[5201])
    shown_until: datetime | None = Field(description="everything that was durable by then is shown")
    age_seconds: float | None = Field(description="how long ago that was", examples=[0.4])
    stale_because: list[str] = Field(description="why the view is stale; empty while it is fresh", examples=[[]])


class DocumentRef(_Answer):
    """A policy or model document."""

    name: str = Field(examples=["retail-thin"])
    version: str = Field(examples=["1"])
    sha256: str = Field(description="hex digest of its bytes")


class Trigger(_Answer):
    """The event that asked for the decision."""

    event: str = Field(description="id of the event", examples=["p1"])
    type: str = Field(examples=["purchase.made"])
    occurred_at: datetime


class Action(_Answer):
    """An action that is current: proposed, not recalled, valid, not answered."""

    decision: str = Field(
        description="quote it in every report of what became of it", examples=["crm.journal.v1-2-5201-0"]
    )
    action: str = Field(examples=["save-voucher"])
    issue: str = Field(examples=["retention"])
    group: str = Field(examples=["vouchers"])
    treatment: str = Field(examples=["save-voucher-letter"])
    channel: Channel
    placement: str = Field(description="place within the channel, empty for none", examples=["home-hero"])
    action_class: ActionClass = Field(alias="class")
    priority: float = Field(description="propensity x context weight x value x lever", examples=[412.5])
    decided_at: datetime
    valid_until: datetime = Field(description="deliver before this moment or not at all")
    trigger: Trigger
    churn_risk: float | None = Field(description="at the decision, 0 to 1", examples=[0.41])
    value_at_risk_minor: int | None = Field(description="at the decision, minor units", examples=[84354])
    content: dict[str, str] = Field(
        description="content keys of the treatment", examples=[{"template": "save-voucher"}]
    )
    policy: DocumentRef | None
    model: DocumentRef | None
    held: bool = Field(description="true: do not carry it out now")
    held_because: list[HeldBecause] = Field(examples=[[]])


class Suppression(_Answer):
    """A suppression in force."""

    id: str = Field(examples=["crm.journal.v1-2-5100-0"])
    scope_kind: str = Field(examples=["CLASS"])
    scope: str = Field(examples=["MARKETING"])
    reason: str | None = Field(
        description="null where only the customer's state still tells of it", examples=["OPEN_DISPUTE"]
    )
    evidence: list[str] = Field(description="ids of the events that it rests on", examples=[["d1"]])
    release_condition: str | None = Field(examples=["every dispute of the customer is resolved"])
    started_at: datetime


class _OfCustomer(_Answer):
    customer: str = Field(description="surrogate of the customer", examples=[SURROGATE])
    stale: bool = Field(description="true: the view may lack what happened long ago already; marketing is held")
    freshness: Freshness


class Customer(_OfCustomer):
    """Everything that the views have of one customer."""

    state: dict[str, Any] | None = Field(
        description="the customer's state: counts, purchases, churn risk as of the newest event, disputes, consents, "
        "actions in flight, contacts; null where the fold has not told it yet",
        examples=[{"customer": SURROGATE, "purchases": {"frequency": 38, "spend_minor": 151220, "currency": "EUR"}}],
    )
    actions: list[Action]
    suppressions: list[Suppression]


class Actions(_OfCustomer):
    """The current actions, highest priority first."""

    actions: list[Action]


class Suppressions(_OfCustomer):
    """The suppressions in force."""

    suppressions: list[Suppression]


class Health(_Answer):
    """The process lives."""

    status: str = Field(examples=["alive"])


class Readiness(_Answer):
    """The views are there and fresh."""

    status: str = Field(examples=["ready"])
    sources: int = Field(description="partitions that the views are made of, all of them fresh", examples=[18])
