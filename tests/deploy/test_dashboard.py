"""The Grafana dashboard: what Grafana needs of it, without a Grafana."""

import itertools

from tests.deploy import tools


def test_every_panel_can_be_told_and_placed() -> None:
    """Ids and titles are unique, panels do not overlap and stay within 24 columns."""
    panels = tools.dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    for one, other in itertools.combinations((panel["gridPos"] for panel in panels), 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def test_every_query_goes_to_the_chosen_prometheus() -> None:
    """No panel names a data source of somebody's own Grafana, and every target has a query and a legend."""
    variables = {variable["name"] for variable in tools.dashboard()["templating"]["list"]}
    assert variables == {"datasource", "group"}
    for panel in tools.panels().values():
        assert panel["targets"]
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert target["expr"]
            assert target["legendFormat"]


def test_what_operations_ask_for_is_shown() -> None:
    """Lag, status, throughput, latency, decisions, suppressions, dead letters, rebalances, restores, members."""
    shown = {name for expression in tools.expressions().values() for name in tools.names(expression)}
    assert shown >= {
        "kafka_consumergroup_lag",
        "kafka_consumergroup_lag_seconds",
        "attune_consumergroup_partition_status",
        "kafka_consumergroup_members",
        "attune_records_total",
        "attune_action_latency_seconds_bucket",
        "attune_decisions_total",
        "attune_suppressions_total",
        "attune_dead_letters_retained",
        "attune_rebalances_total",
        "attune_restore_records_done",
    }
