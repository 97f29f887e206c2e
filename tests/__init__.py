"""A package, so that tests can share code of their area (`tests.rollout.bpe_tokenizers`) whatever is installed."""
