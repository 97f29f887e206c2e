"""The simulated candidates behind real HTTP, and the faults they can be told to have."""
