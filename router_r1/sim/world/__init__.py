"""The synthetic world: its facts, its questions, and the candidates that answer them."""
