"""ganforge is never slower than the textbook loop at the same precision. Takes minutes."""

import pytest
from speed import compare, prepared


@pytest.mark.slow
@pytest.mark.parametrize("which", ["vanilla", "dcgan", "cyclegan"])
def test_a_step_takes_no_longer_than_the_textbooks(tmp_path, which):
    result = compare(which, prepared(tmp_path), rounds=5)
    assert result["fp32"][1] >= 1.0, result
