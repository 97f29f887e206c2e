"""A package, so that tests can share fixtures of their area (`tests.rollout.bpe_tokenizers`) whatever else is installed."""
