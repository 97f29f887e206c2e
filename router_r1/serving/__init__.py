"""`router-r1 serve`: a router behind OpenAI's chat completions API; docs/serving.md says what it takes and refuses."""
