"""Names of the topics. What each one is stands in catalogue.yaml; a test holds the two together."""

from typing import Final

INTERACTIONS: Final = "crm.interactions.v1"
JOURNAL: Final = "crm.journal.v1"
NEXT_BEST_ACTIONS: Final = "crm.next-best-actions.v1"
SUPPRESSIONS: Final = "crm.suppressions.v1"
CUSTOMER_STATE: Final = "crm.customer-state.v1"
POLICIES: Final = "crm.policies.v1"
MODELS: Final = "crm.models.v1"
APPROVALS: Final = "crm.approvals.v1"
ROUTER_MARKS: Final = "crm.router-marks.v1"
FOLD_CHANGELOG: Final = "crm.fold-changelog.v1"

DEAD_LETTER_SUFFIX: Final = ".dlq"
INTERACTIONS_DEAD: Final = INTERACTIONS + DEAD_LETTER_SUFFIX
JOURNAL_DEAD: Final = JOURNAL + DEAD_LETTER_SUFFIX
