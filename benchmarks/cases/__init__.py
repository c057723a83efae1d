"""Small inputs on which the project was wrong once, run as they lie and judged: `python -m benchmarks.cases`."""
