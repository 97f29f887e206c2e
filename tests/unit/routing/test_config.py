"""Settings of a route service, as a configuration file or a command line gives them."""

from __future__ import annotations

import pytest

from router_r1.errors import ConfigError, validated
from router_r1.routing import BreakerPolicy, RetryPolicy, RoutingConfig


def refusal(settings: dict[str, object]) -> str:
    """The one line that wrong settings are answered with."""
    with pytest.raises(ConfigError) as caught:
        validated(RoutingConfig, "router_r1.routing", settings)
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"cash": "off"}, "router_r1.routing: cash: unknown key"),
        ({"hedge": True}, "router_r1.routing: hedge: unknown key"),
        ({"cache": "on"}, "router_r1.routing: cache = 'on'"),
        ({"budget_usd": -1}, "budget_usd = -1"),
        ({"budget_usd": "-1"}, "budget_usd = '-1'"),
        ({"budget_usd": "much"}, "budget_usd = 'much'"),
        ({"budget_usd": "inf"}, "budget_usd = 'inf'"),
        ({"budget_usd": "nan"}, "budget_usd = 'nan'"),
        ({"shards": "1.5"}, "shards = '1.5'"),
        ({"retries": {"max_attempts": 0}}, "retries.max_attempts = 0"),
        ({"retries": {"max_attempts": "0"}}, "retries.max_attempts = '0'"),
        ({"breaker": {"share": "2"}}, "breaker.share = '2'"),
        ({"breaker": {"shared": "0.5"}}, "breaker.shared: unknown key"),
    ],
)
def test_a_wrong_setting_is_told_in_one_line(settings, told):
    line = refusal(settings)
    assert told in line
    assert "\n" not in line


def test_numbers_and_switches_may_come_as_the_words_of_a_command_line():
    written = {
        "budget_usd": "12.5",
        "trace_texts": "true",
        "shards": "2",
        "metrics_port": "9100",
        "retries": {"max_attempts": "3", "total_s": "1e1"},
        "breaker": {"window": "40", "share": "0.25"},
    }
    assert validated(RoutingConfig, "command line", written) == RoutingConfig(
        budget_usd=12.5,
        trace_texts=True,
        shards=2,
        metrics_port=9100,
        retries=RetryPolicy(max_attempts=3, total_s=10.0),
        breaker=BreakerPolicy(window=40, share=0.25),
    )


def test_each_shard_has_a_trace_file_and_a_port_of_its_own():
    config = RoutingConfig(trace_file="out/routes.jsonl", metrics_port=9100, shards=3)
    assert config.for_shard(0) == config
    assert (config.for_shard(2).trace_file, config.for_shard(2).metrics_port) == ("out/routes-2.jsonl", 9102)
