"""Between states and bytes: one version byte, then msgpack.

A newer version is refused, an older one goes through pure upcasters, each from one version to the next.
Fields added at the end of a record with a default need no new version.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

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


class StateCodec:
    """Encodes and decodes states; `decode(encode(x)) == x`."""

    def __init__(self, version: int = VERSION, upcasters: Mapping[int, Upcaster] = UPCASTERS) -> None:
        """Take the version to write and the upcasters from every older one."""
        missing = [old for old in range(1, version) if old not in upcasters]
        if missing:
            raise ValueError(f"no upcaster from state version {missing[0]}; add it to streams/state.py")
        self._version = version
        self._prefix = bytes([version])
        self._upcasters = upcasters
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(State).decode

    def encode(self, value: State, /) -> bytes:
        """Return the bytes of a state."""
        return self._prefix + self._encode(value)

    def decode(self, encoded: bytes, /) -> State:
        """Return the state.

        Raises NewerState naming both versions, MalformedState for bytes of no version.
        """
        if not encoded:
            raise MalformedState("the stored state is empty; restore its partition from the journal")
        version = encoded[0]
        try:
            if version == self._version:
                return self._decode(memoryview(encoded)[1:])  # type: ignore[no-any-return]
            if version > self._version:
                raise NewerState(
                    f"the stored state has version {version}, this release reads up to {self._version}; "
                    "start the release that wrote it, or rebuild the state from the journal"
                )
            if version == 0:
                raise MalformedState("the stored state begins with byte 0, which is no version")
            plain = msgspec.msgpack.decode(memoryview(encoded)[1:])
            for step in range(version, self._version):
                plain = self._upcasters[step](plain)
            return msgspec.convert(plain, State)  # type: ignore[no-any-return]
        except msgspec.MsgspecError as error:
            raise MalformedState(
                f"the stored state (version {version}, {len(encoded)} bytes) cannot be read: {error}; "
                "restore its partition from the journal"
            ) from error


STATE_CODEC: Final = StateCodec()
