"""Clock, ids, units, errors, vocabulary, jit: imports nothing of ours."""
