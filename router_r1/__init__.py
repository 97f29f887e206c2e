"""Router-R1: reinforcement-learned routing of questions to a pool of LLMs."""

__version__ = "0.1.0"
