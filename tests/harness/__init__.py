"""What the tests and benchmarks share: a raw Docker API client and facts about the host under test."""
