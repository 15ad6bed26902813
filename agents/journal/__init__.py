"""The one log that decides: the router copies interactions into it, the coordinator adds control records."""
