"""What can be wrong with a message or a registry. Each error says where, and what to do."""


class ContractError(ValueError):
    """Something does not keep the contract."""


class UnknownSchema(ContractError):
    """A schema id, fingerprint or name that nobody knows: a dead letter, not a reason to wait."""


class MalformedMessage(ContractError):
    """Bytes that are not what they should be: not framed, truncated, followed by more, or of another type."""


class InvalidRecord(ContractError):
    """A record that does not fit the schema it is to be written with; the message names the field."""


class RegistryUnavailable(ConnectionError):
    """The registry does not answer, or answers that it cannot; wait and ask again, lose nothing."""


class RegistryRefused(ContractError):
    """The registry understood and said no, e.g. to an incompatible schema or to our credentials."""
