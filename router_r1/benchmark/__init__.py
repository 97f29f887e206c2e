"""Benchmarks of a trained router, or another method, on test questions: records, metrics, tables, pictures, report."""
