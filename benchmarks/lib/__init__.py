"""What several benchmarks share: peers, measuring in turn, processes of their own."""
