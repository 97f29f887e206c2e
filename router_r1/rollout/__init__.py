"""The one multi-turn loop, and the policy back ends it runs with."""
