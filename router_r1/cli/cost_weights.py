"""The option `--cost-weights` of the commands that write question files."""

from __future__ import annotations

from router_r1.errors import ConfigError
from router_r1.prompts import Template
from router_r1.prompts.cost_words import fault_of


def told_weights(written: str | None, template: Template) -> tuple[float, ...]:
    """The weights that questions are given; none if the option was not.

    Raises:
        ConfigError: it is no list of numbers in [0, 1], or a policy could not tell these weights by their prompts.
    """
    if written is None:
        return ()
    try:
        weights = tuple(float(part) for part in written.split(","))
    except ValueError:
        weights = ()
    fault = fault_of(weights) if weights else "must be numbers in [0, 1], separated by commas"
    if not fault and not template.tells_cost_weight:
        fault = f"would be told by no prompt of template {template.name}: add {{cost_weight}} to it"
    if fault:
        raise ConfigError("command line", "--cost-weights", written, fault)
    return weights
