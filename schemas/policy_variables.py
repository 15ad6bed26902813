"""What a condition of a policy may refer to: the one list of variables, with types and what they say.

Conditions are CEL over `customer.<field>`, `event.<field>`, and `aggregate.<id>` for what the pack itself declares
(schemas/aggregate_reader.py). Every variable always has a value, so that a condition can be decided; what stands for
"never" is said below. `streams/situation.py` computes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

from schemas.vocabulary import Channel, EventType, Outcome

NEVER_DAYS: Final = 36_500.0
"""Days since something that never happened: a hundred years."""


class VariableType(Enum):
    """Types of CEL; the values are examples of it."""

    INT = 7
    DOUBLE = 0.5
    BOOL = True
    STRING = "text"
    MAP = MappingProxyType({"key": "text"})


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable. `needs_risk` marks those that have no value before a model is active and a purchase was made."""

    type: VariableType
    says: str
    needs_risk: bool = False
    choices: tuple[str, ...] = ()

    @property
    def example(self) -> Any:
        """A value of the type."""
        value = self.type.value
        return dict(value) if isinstance(value, Mapping) else value


def _variables() -> dict[str, Variable]:
    t = VariableType
    since = "days since the newest {}; 36500.0 if never"
    contacts = {
        f"customer.contacts_{channel.value.lower()}": Variable(t.INT, f"contacts on channel {channel.value}")
        for channel in Channel
    }
    return {
        "customer.purchases": Variable(t.INT, "number of purchases"),
        "customer.spend_minor": Variable(t.INT, "sum of purchases, minor units"),
        "customer.mean_purchase_minor": Variable(t.INT, "mean purchase, minor units; 0 without purchases"),
        "customer.days_since_purchase": Variable(t.DOUBLE, since.format("purchase")),
        "customer.days_between_purchases": Variable(
            t.DOUBLE, "days between the newest purchase and the one before; 36500.0 if there are not two"
        ),
        "customer.days_since_first_purchase": Variable(t.DOUBLE, "days since the first purchase; 36500.0 if never"),
        "customer.days_known": Variable(t.DOUBLE, "days since the first event"),
        "customer.churn_risk": Variable(t.DOUBLE, "probability of no purchase in the horizon, 0 to 1", needs_risk=True),
        "customer.value_minor": Variable(t.INT, "expected spend, minor units", needs_risk=True),
        "customer.value_at_risk_minor": Variable(t.INT, "churn risk x expected spend, minor units", needs_risk=True),
        "customer.open_disputes": Variable(t.INT, "number of open disputes"),
        "customer.open_cases": Variable(t.INT, "number of open cases, disputes included"),
        "customer.complaints": Variable(t.INT, "number of complaints"),
        "customer.days_since_complaint": Variable(t.DOUBLE, since.format("complaint")),
        "customer.contacts": Variable(t.INT, "number of events of any kind"),
        **contacts,
        "customer.queued": Variable(t.INT, "actions proposed and not confirmed as dispatched"),
        "customer.days_since_marketing": Variable(t.DOUBLE, since.format("marketing action proposed")),
        "customer.days_since_contact": Variable(t.DOUBLE, since.format("contact that the company made")),
        "customer.days_since_accept": Variable(t.DOUBLE, since.format("acceptance of an offer")),
        "customer.days_since_reject": Variable(t.DOUBLE, since.format("rejection of an offer")),
        "customer.unanswered": Variable(t.INT, "contacts since the newest response, those before 92 days ago left out"),
        "customer.last_action": Variable(t.STRING, "id of the newest action that went out; empty if none did"),
        "customer.last_outcome": Variable(
            t.STRING, "what became of it; empty if none went out", choices=("", *(word.value for word in Outcome))
        ),
        "customer.zone": Variable(t.STRING, "time zone, e.g. Europe/Berlin; empty if it is not known"),
        "customer.messages_sent": Variable(t.INT, "actions dispatched"),
        "customer.offers_presented": Variable(t.INT, "offers presented, by whomever"),
        "customer.offers_accepted": Variable(t.INT, "offers accepted"),
        "customer.offers_rejected": Variable(t.INT, "offers rejected"),
        "event.type": Variable(t.STRING, "type of the trigger", choices=tuple(kind.value for kind in EventType)),
        "event.channel": Variable(t.STRING, "its channel", choices=tuple(channel.value for channel in Channel)),
        "event.source": Variable(t.STRING, "the system that published it"),
        "event.touchpoint": Variable(t.STRING, "its place within the channel"),
        "event.reference": Variable(t.STRING, "its reference; empty if it has none"),
        "event.amount_minor": Variable(t.INT, "its amount, minor units; 0 if it has none"),
        "event.age_hours": Variable(t.DOUBLE, "hours between the event and the decision"),
        "event.attributes": Variable(
            t.MAP, "what else the source says, as text: 'size' in event.attributes && event.attributes['size'] == 'XL'"
        ),
    }


VARIABLES: Final[Mapping[str, Variable]] = MappingProxyType(_variables())
"""By full name."""


def flat_name(variable: str) -> str:
    """Return the name under which a variable is handed to CEL: one flat name costs a tenth of a nested map."""
    return variable.replace(".", "_", 1)
