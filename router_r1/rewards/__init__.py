"""The rule-based reward: format, outcome, cost, and their composition."""
