"""A package, so that tests can share code of their area (`tests.doubles.bpe_tokenizers`) whatever is installed."""
