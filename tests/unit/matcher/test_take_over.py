"""What answers an offer runs in doors that have many processes: it loads no compiler."""

import subprocess
import sys


def test_an_answer_needs_no_kernels():
    asked = "import engine.matcher.offer_answers, sys; print('numba' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False"]
