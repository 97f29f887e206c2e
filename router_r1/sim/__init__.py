"""The simulated question world and the pool of candidates that answer it over real HTTP."""
