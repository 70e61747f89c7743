"""Side-by-side benchmarks: ours and an anchor in the same run, on the same machine, with the answers checked."""
