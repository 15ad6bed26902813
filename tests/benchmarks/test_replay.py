"""The benchmark of replay says what it found; nothing here depends on how fast anything is."""

from tests.benchmarks.replay import KINDS, LIVE, ONE, Speed, as_table


def test_the_ratio_is_median_to_median_and_a_miss_is_said() -> None:
    """Twice the live rate is met, the same rate is MISSED; every kind has its row."""

    def found(rate: float) -> dict[str, list[Speed]]:
        rows = {kind.name: [Speed(rate, rate)] for kind in KINDS}
        return {LIVE: [Speed(100.0, 50.0), Speed(900.0, 50.0), Speed(100.0, 50.0)], **rows}

    met = as_table(found(200.0))
    assert "met at 2.00" in met
    assert "MISSED at 1.00" in as_table(found(100.0))
    for line, name in zip(met.splitlines()[1:-1], [LIVE, *(kind.name for kind in KINDS)], strict=True):
        assert line.startswith(name)
    assert ONE in met
