"""Speed, side by side with other ways to compute the same. `python -m benchmarks` runs it and records the result."""
