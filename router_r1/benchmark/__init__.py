"""Asking a trained router: benchmarks on test sets, and single questions."""
