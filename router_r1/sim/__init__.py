"""What is simulated: a synthetic world, candidates that know parts of it, and a tiny policy to ask them."""
