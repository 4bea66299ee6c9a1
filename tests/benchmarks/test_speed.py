"""ganforge is never slower than the textbook loop at the same precision. Takes minutes."""

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("which", ["vanilla", "dcgan", "cyclegan"])
def test_a_step_takes_no_longer_than_the_textbooks(tmp_path, which):
    from speed import compare, prepared  # with torchvision's models, seconds to import

    result = compare(which, prepared(tmp_path), rounds=5)
    assert result["fp32"][1] >= 1.0, result
