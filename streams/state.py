"""Between states and bytes: one version byte, then msgpack.

A newer version is refused, an older one goes through pure upcasters, each from one version to the next.
Fields added at the end of a record with a default need no new version.

Which version is written is said by the class of the state, and which class that is by the core: a release whose states
have a new version keeps the classes of the old one beside its own, reads and writes both, and makes new ones of old
ones only under a `logic` (streams/logic.py) that older releases do not know. They read what it writes until
`attune logic activate` says that none of them is left. Going back to the old logic changes no state back: what is
written as new stays new, and only that release goes on.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Union

import msgspec

from streams.customer import Customer
from streams.errors import MalformedState, NewerState
from streams.partition import Partition

State = Customer | Partition

VERSION: Final = 1

Upcaster = Callable[[list[Any]], list[Any]]
"""From the plain list of one version to that of the next; the first element is the record's tag."""

UPCASTERS: Final[Mapping[int, Upcaster]] = {}
"""By the version that they start from."""

CLASSES: Final[Mapping[int, tuple[type, ...]]] = {VERSION: (Customer, Partition)}
"""The classes of the versions that are written. A class that stands in several is written in the first of them."""


class StateCodec:
    """Encodes and decodes states; `decode(encode(x)) == x`."""

    def __init__(
        self, classes: Mapping[int, tuple[type, ...]] = CLASSES, upcasters: Mapping[int, Upcaster] = UPCASTERS
    ) -> None:
        """Take the classes of the versions that are written, and the upcasters from every version that is only read."""
        self._version = max(classes)
        missing = [old for old in range(1, self._version) if old not in upcasters and old not in classes]
        if missing:
            raise ValueError(f"no upcaster from state version {missing[0]}; add it to streams/state.py")
        self._prefixes = {
            one: bytes([version]) for version in sorted(classes, reverse=True) for one in classes[version]
        }
        self._upcasters = upcasters
        self._types: dict[int, Any] = {version: Union[own] for version, own in classes.items()}  # noqa: UP007
        self._encode = msgspec.msgpack.Encoder().encode
        self._decoders = {version: msgspec.msgpack.Decoder(own).decode for version, own in self._types.items()}

    def encode(self, value: State, /) -> bytes:
        """Return the bytes of a state."""
        return self._prefixes[type(value)] + self._encode(value)

    def decode(self, encoded: bytes, /) -> State:
        """Return the state.

        Raises NewerState naming both versions, MalformedState for bytes of no version.
        """
        if not encoded:
            raise MalformedState("the stored state is empty; restore its partition from the journal")
        version = encoded[0]
        try:
            decode = self._decoders.get(version)
            if decode is not None:
                return decode(memoryview(encoded)[1:])  # type: ignore[no-any-return]
            if version > self._version:
                raise NewerState(
                    f"the stored state has version {version}, this release reads up to {self._version}; "
                    "start the release that wrote it, or rebuild the state from the journal"
                )
            if version == 0:
                raise MalformedState("the stored state begins with byte 0, which is no version")
            plain = msgspec.msgpack.decode(memoryview(encoded)[1:])
            while version not in self._types:
                plain = self._upcasters[version](plain)
                version += 1
            return msgspec.convert(plain, self._types[version])  # type: ignore[no-any-return]
        except msgspec.MsgspecError as error:
            raise MalformedState(
                f"the stored state (version {version}, {len(encoded)} bytes) cannot be read: {error}; "
                "restore its partition from the journal"
            ) from error


STATE_CODEC: Final = StateCodec()
