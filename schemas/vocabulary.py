"""Every declared word of the contract: event types, channels, classes, reasons. Each is spelled once, here.

Values of the enums that also stand in an Avro schema equal its symbols (a test compares them). Event types and
reason codes travel as text, so that one which a reader does not know is no error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class LifeCycle(StrEnum):
    """Stage of the customer's life cycle that an event speaks of."""

    DISCOVERY = "discovery"
    AWARENESS = "awareness"
    CULTIVATION = "cultivation"
    PURCHASE = "purchase"
    SERVICE = "service"
    ADVOCACY = "advocacy"


class Actor(StrEnum):
    """Whose doing an event is."""

    CUSTOMER = "customer"
    COMPANY = "company"
    MACHINE = "machine"


class EventType(StrEnum):
    """Declared types of interactions. An undeclared one is kept as a contact without meaning."""

    DISCOVERED = "lifecycle.discovery"
    BECAME_AWARE = "lifecycle.awareness"
    CULTIVATED = "lifecycle.cultivation"
    BROWSED = "page.browsed"
    BASKET_CHANGED = "basket.changed"
    BASKET_ABANDONED = "basket.abandoned"
    ORDER_PLACED = "order.placed"
    PURCHASE = "purchase.made"
    PAYMENT = "payment.made"
    BILL_SENT = "bill.sent"
    BILL_PAID = "bill.paid"
    BILL_DISPUTED = "bill.disputed"
    DISPUTE_RESOLVED = "dispute.resolved"
    CASE_OPENED = "case.opened"
    CASE_RESOLVED = "case.resolved"
    CASE_REOPENED = "case.reopened"
    COMPLAINT = "complaint.made"
    CALL = "call.made"
    VISIT = "visit.made"
    QUERY_ANSWERED = "query.answered"
    MESSAGE_SENT = "message.sent"
    MESSAGE_DELIVERED = "message.delivered"
    MESSAGE_OPENED = "message.opened"
    MESSAGE_CLICKED = "message.clicked"
    MESSAGE_BOUNCED = "message.bounced"
    MESSAGE_IGNORED = "message.ignored"
    MESSAGE_WITHHELD = "message.withheld"
    OFFER_PRESENTED = "offer.presented"
    OFFER_ACCEPTED = "offer.accepted"
    OFFER_REJECTED = "offer.rejected"
    FULFILMENT_STARTED = "fulfilment.started"
    FULFILMENT_STEP = "fulfilment.step"
    FULFILMENT_FAILED = "fulfilment.failed"
    FULFILMENT_COMPLETED = "fulfilment.completed"
    SURVEY_NPS = "survey.nps"
    SURVEY_CSAT = "survey.csat"
    SURVEY_CES = "survey.ces"
    SOCIAL_POST = "social.posted"
    POST_ANSWERED = "social.answered"
    REFERRAL = "referral.made"
    CONSENT_GIVEN = "consent.given"
    CONSENT_WITHDRAWN = "consent.withdrawn"
    SERVICE_ACTIVATED = "service.activated"
    SERVICE_CANCELLED = "service.cancelled"
    USAGE = "usage.recorded"
    PROFILE_CHANGED = "profile.changed"
    IDENTIFIERS_LINKED = "identifiers.linked"
    IDENTIFIERS_UNLINKED = "identifiers.unlinked"
    ERASURE_REQUESTED = "erasure.requested"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a declared event type says by itself.

    `reference` names what the field `reference` holds; None where the type needs none.
    """

    stage: LifeCycle
    actor: Actor
    says: str
    reference: str | None = None


class Channel(StrEnum):
    """Channel categories."""

    SALES_FORCE = "SALES_FORCE"
    OUTLET = "OUTLET"
    TELEPHONY = "TELEPHONY"
    DIRECT_MARKETING = "DIRECT_MARKETING"
    E_COMMERCE = "E_COMMERCE"
    M_COMMERCE = "M_COMMERCE"
    SOCIAL = "SOCIAL"
    BACK_OFFICE = "BACK_OFFICE"
    OTHER = "OTHER"


class ActionClass(StrEnum):
    """Classes of actions, the strongest first."""

    MANDATORY = "MANDATORY"
    TRANSACTIONAL = "TRANSACTIONAL"
    SERVICE = "SERVICE"
    MARKETING = "MARKETING"


class Purpose(StrEnum):
    """Purposes of consent: service covers service and transactional actions, marketing covers marketing."""

    SERVICE = "service"
    MARKETING = "marketing"


class DecisionKind(StrEnum):
    """What was decided."""

    PROPOSED = "PROPOSED"
    RECALLED = "RECALLED"
    NO_ACTION = "NO_ACTION"


class ReasonCode(StrEnum):
    """Why a candidate won, lost or was recalled; in the order in which the stages look at it."""

    SELECTED = "SELECTED"
    NO_POLICY = "NO_POLICY"
    NO_TRIGGER = "NO_TRIGGER"
    TRIGGER_TOO_OLD = "TRIGGER_TOO_OLD"
    NOT_ELIGIBLE = "NOT_ELIGIBLE"
    NOT_APPLICABLE = "NOT_APPLICABLE"
    NOT_SUITABLE = "NOT_SUITABLE"
    CONDITION_ERROR = "CONDITION_ERROR"
    NO_CONSENT = "NO_CONSENT"
    SUPPRESSED = "SUPPRESSED"
    ALREADY_QUEUED = "ALREADY_QUEUED"
    CONTACTED_RECENTLY = "CONTACTED_RECENTLY"
    COOL_OFF = "COOL_OFF"
    NO_TREATMENT = "NO_TREATMENT"
    NO_VALUE = "NO_VALUE"
    CONTACT_LIMIT = "CONTACT_LIMIT"
    QUIET_HOURS = "QUIET_HOURS"
    NOT_NEEDED = "NOT_NEEDED"
    OUTRANKED = "OUTRANKED"
    EXPIRED = "EXPIRED"
    CONSENT_WITHDRAWN = "CONSENT_WITHDRAWN"
    NO_CANDIDATES = "NO_CANDIDATES"


class Outcome(StrEnum):
    """What became of a contact; the weakest first."""

    PENDING = "PENDING"
    NO_RESPONSE = "NO_RESPONSE"
    IMPRESSION = "IMPRESSION"
    CLICK = "CLICK"
    REJECT = "REJECT"
    ACCEPT = "ACCEPT"


class Measure(StrEnum):
    """What an aggregate of a policy says of its events."""

    COUNT = "count"
    AMOUNT = "amount"
    ACTIVE_DAYS = "active_days"
    DAYS_SINCE = "days_since"


class Calendar(StrEnum):
    """Windows that begin at midnight of the customer's zone; a week begins on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Weekday(StrEnum):
    """Days of the week."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


class CoolOffScope(StrEnum):
    """What rests after a bad outcome: the action, its group, its issue, or every action of its class."""

    ACTION = "action"
    GROUP = "group"
    ISSUE = "issue"
    CLASS = "class"


class SuppressionStatus(StrEnum):
    """Whether a suppression begins or ends."""

    STARTED = "STARTED"
    LIFTED = "LIFTED"


class SuppressionReason(StrEnum):
    """Why a customer is not to be contacted."""

    OPEN_DISPUTE = "OPEN_DISPUTE"
    OPEN_CASE = "OPEN_CASE"
    COMPLAINT = "COMPLAINT"
    FAILED_FULFILMENT = "FAILED_FULFILMENT"
    MISSING_CONSENT = "MISSING_CONSENT"
    CONTACT_LIMIT = "CONTACT_LIMIT"
    QUIET_HOURS = "QUIET_HOURS"
    COOL_OFF = "COOL_OFF"
    NEGATIVE_EXPERIENCE = "NEGATIVE_EXPERIENCE"
    ERASURE = "ERASURE"
    CONTROL_GROUP = "CONTROL_GROUP"
    HOLD = "HOLD"
    OTHER = "OTHER"


class ScopeKind(StrEnum):
    """How the scope of a suppression is to be read."""

    EVERYTHING = "EVERYTHING"
    CLASS = "CLASS"
    CHANNEL = "CHANNEL"
    CATEGORY = "CATEGORY"
    OFFER = "OFFER"


class DocumentKind(StrEnum):
    """Kinds of documents that an activation makes active."""

    POLICY = "POLICY"
    MODEL = "MODEL"
    LOGIC = "LOGIC"
    JOURNAL = "JOURNAL"


class JournalKind(StrEnum):
    """Values of the header attune-kind."""

    INTERACTION = "interaction"
    WATERMARK = "watermark"
    TICK = "tick"
    ACTIVATION = "activation"
    SPLIT = "split"


def _meanings() -> Mapping[EventType, Meaning]:
    e, s, a = EventType, LifeCycle, Actor
    return {
        e.DISCOVERED: Meaning(s.DISCOVERY, a.CUSTOMER, "first found the company"),
        e.BECAME_AWARE: Meaning(s.AWARENESS, a.CUSTOMER, "learnt of a product"),
        e.CULTIVATED: Meaning(s.CULTIVATION, a.COMPANY, "was cultivated without an offer"),
        e.BROWSED: Meaning(s.AWARENESS, a.CUSTOMER, "looked at a page or product"),
        e.BASKET_CHANGED: Meaning(s.CULTIVATION, a.CUSTOMER, "put into or took out of a basket", "basket"),
        e.BASKET_ABANDONED: Meaning(s.CULTIVATION, a.MACHINE, "left a basket", "basket"),
        e.ORDER_PLACED: Meaning(s.PURCHASE, a.CUSTOMER, "placed an order", "order"),
        e.PURCHASE: Meaning(s.PURCHASE, a.CUSTOMER, "bought and paid, in a shop or at once", "receipt"),
        e.PAYMENT: Meaning(s.PURCHASE, a.CUSTOMER, "paid", "order"),
        e.BILL_SENT: Meaning(s.SERVICE, a.COMPANY, "was sent a bill", "bill"),
        e.BILL_PAID: Meaning(s.SERVICE, a.CUSTOMER, "paid a bill", "bill"),
        e.BILL_DISPUTED: Meaning(s.SERVICE, a.CUSTOMER, "disputes a bill", "dispute"),
        e.DISPUTE_RESOLVED: Meaning(s.SERVICE, a.COMPANY, "had a dispute resolved", "dispute"),
        e.CASE_OPENED: Meaning(s.SERVICE, a.CUSTOMER, "has an open case", "case"),
        e.CASE_RESOLVED: Meaning(s.SERVICE, a.COMPANY, "had a case resolved", "case"),
        e.CASE_REOPENED: Meaning(s.SERVICE, a.CUSTOMER, "came back with a resolved case", "case"),
        e.COMPLAINT: Meaning(s.SERVICE, a.CUSTOMER, "complained", "case"),
        e.CALL: Meaning(s.SERVICE, a.CUSTOMER, "called"),
        e.VISIT: Meaning(s.SERVICE, a.CUSTOMER, "came to an outlet"),
        e.QUERY_ANSWERED: Meaning(s.SERVICE, a.COMPANY, "had a query answered", "case"),
        e.MESSAGE_SENT: Meaning(s.CULTIVATION, a.COMPANY, "had an action dispatched to them", "message"),
        e.MESSAGE_DELIVERED: Meaning(s.CULTIVATION, a.MACHINE, "received a dispatched action", "message"),
        e.MESSAGE_OPENED: Meaning(s.CULTIVATION, a.CUSTOMER, "opened it; an open alone is no engagement", "message"),
        e.MESSAGE_CLICKED: Meaning(s.CULTIVATION, a.CUSTOMER, "clicked on it", "message"),
        e.MESSAGE_BOUNCED: Meaning(s.CULTIVATION, a.MACHINE, "could not be reached by it", "message"),
        e.MESSAGE_IGNORED: Meaning(s.CULTIVATION, a.MACHINE, "did not respond to it in time", "message"),
        e.MESSAGE_WITHHELD: Meaning(s.CULTIVATION, a.COMPANY, "was spared it just before dispatch", "message"),
        e.OFFER_PRESENTED: Meaning(s.CULTIVATION, a.COMPANY, "saw or heard an offer", "offer"),
        e.OFFER_ACCEPTED: Meaning(s.PURCHASE, a.CUSTOMER, "accepted an offer", "offer"),
        e.OFFER_REJECTED: Meaning(s.CULTIVATION, a.CUSTOMER, "rejected an offer", "offer"),
        e.FULFILMENT_STARTED: Meaning(s.SERVICE, a.COMPANY, "is owed a fulfilment", "fulfilment"),
        e.FULFILMENT_STEP: Meaning(s.SERVICE, a.COMPANY, "came a step nearer to it", "fulfilment"),
        e.FULFILMENT_FAILED: Meaning(s.SERVICE, a.COMPANY, "did not get what was promised", "fulfilment"),
        e.FULFILMENT_COMPLETED: Meaning(s.SERVICE, a.COMPANY, "got what was promised", "fulfilment"),
        e.SURVEY_NPS: Meaning(s.ADVOCACY, a.CUSTOMER, "answered whether they would recommend, 0 to 10"),
        e.SURVEY_CSAT: Meaning(s.ADVOCACY, a.CUSTOMER, "answered how satisfied they are"),
        e.SURVEY_CES: Meaning(s.ADVOCACY, a.CUSTOMER, "answered how much effort it took"),
        e.SOCIAL_POST: Meaning(s.ADVOCACY, a.CUSTOMER, "posted in public", "post"),
        e.POST_ANSWERED: Meaning(s.SERVICE, a.COMPANY, "had a post answered", "post"),
        e.REFERRAL: Meaning(s.ADVOCACY, a.CUSTOMER, "referred somebody"),
        e.CONSENT_GIVEN: Meaning(s.SERVICE, a.CUSTOMER, "gave consent; attributes purpose and channel"),
        e.CONSENT_WITHDRAWN: Meaning(s.SERVICE, a.CUSTOMER, "withdrew consent; attributes purpose and channel"),
        e.SERVICE_ACTIVATED: Meaning(s.SERVICE, a.COMPANY, "had a service activated", "service"),
        e.SERVICE_CANCELLED: Meaning(s.SERVICE, a.CUSTOMER, "cancelled a service", "service"),
        e.USAGE: Meaning(s.SERVICE, a.CUSTOMER, "used a service", "service"),
        e.PROFILE_CHANGED: Meaning(s.SERVICE, a.CUSTOMER, "has another time zone, household or account role"),
        e.IDENTIFIERS_LINKED: Meaning(s.SERVICE, a.MACHINE, "turned out to own another identifier"),
        e.IDENTIFIERS_UNLINKED: Meaning(s.SERVICE, a.COMPANY, "turned out not to own an identifier"),
        e.ERASURE_REQUESTED: Meaning(s.SERVICE, a.CUSTOMER, "asked to be forgotten"),
    }


MEANINGS: Mapping[EventType, Meaning] = MappingProxyType(dict(_meanings()))
"""What each declared type says of the customer; complete (a test checks it)."""
