"""The rule-based reward: format, outcome, cost, and the rubric that sums terms made of them."""
