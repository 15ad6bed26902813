"""The client of a schema registry beside the embedded one."""

from agents.errors import UsageError
from agents.settings import RegistrySettings
from schemas.registry import RemoteRegistry


def client(remote: RegistrySettings) -> RemoteRegistry | None:
    """Return a client, not yet opened, of the registry that is set; None where only the embedded one is used.

    UsageError for credentials that cannot be sent.
    """
    if remote.url is None:
        return None
    try:
        return RemoteRegistry(
            remote.url,
            user=remote.user,
            password=None if remote.password is None else remote.password.get_secret_value(),
            token=None if remote.token is None else remote.token.get_secret_value(),
        )
    except ValueError as error:
        raise UsageError(str(error), "correct registry.user, or registry.token") from error
