#!/usr/bin/env bash
# torch.onnx.export (torch 2.14.1, onnxscript 0.7.2) writes another picture where a network resizes by
# a scale factor with antialiasing and size times factor is no whole number.
#
# Expected: onnxruntime makes of the model what torch makes of the network, up to rounding, as it does
# at sizes where the product is whole, without antialias, and where the size itself is given.
# What happens: nothing is said, and the output is off by up to a third of the range of the input. torch
# computes with the factor that was given (0.75), the exported model with the ratio of the sizes (7/10).
#
# Output seen (the pixels are drawn from [0, 1]):
#   torch 2.14.1, onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.32.0
#   bilinear, antialias, 0.75 of  8 px: largest difference 0.0000
#   bilinear, antialias, 0.75 of 10 px: largest difference 0.2577
#   bicubic,  antialias, 0.75 of 10 px: largest difference 0.3255
#   bilinear, no antialias, 0.75 of 10 px: largest difference 0.0000
#   bilinear, antialias, 10 to 7 px: largest difference 0.0000
#
# Exits with 0 while this is so, and with 1 once it is not.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q torch==2.14.1 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 numpy

cat > "$place/try.py" <<'PYTHON'
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
import onnxscript
import torch
from torch import nn
from torch.nn import functional as F

warnings.simplefilter("ignore")


class Resize(nn.Module):
    def __init__(self, **how):
        super().__init__()
        self.how = how

    def forward(self, x):
        return F.interpolate(x, **self.how)


def difference(side, **how):
    """Between torch and onnxruntime, the largest of all pixels."""
    network, path = Resize(**how).eval(), sys.argv[1]
    x = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    torch.onnx.export(
        network, (x,), path, input_names=["x"], dynamo=True, external_data=False, verbose=False
    )
    model = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (theirs,) = model.run(None, {"x": x.numpy()})
    ours = network(x).numpy()
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max())


print(
    f"torch {torch.__version__.partition('+')[0]}, onnx {onnx.__version__}, "
    f"onnxscript {onnxscript.__version__}, onnxruntime {onnxruntime.__version__}"
)
smooth = {"mode": "bilinear", "antialias": True}
cases = [
    ("bilinear, antialias, 0.75 of  8 px", 8, {**smooth, "scale_factor": 0.75}, False),
    ("bilinear, antialias, 0.75 of 10 px", 10, {**smooth, "scale_factor": 0.75}, True),
    (
        "bicubic,  antialias, 0.75 of 10 px",
        10,
        {"mode": "bicubic", "antialias": True, "scale_factor": 0.75},
        True,
    ),
    (
        "bilinear, no antialias, 0.75 of 10 px",
        10,
        {"mode": "bilinear", "scale_factor": 0.75},
        False,
    ),
    ("bilinear, antialias, 10 to 7 px", 10, {**smooth, "size": (7, 7)}, False),
]
as_seen = True
for what, side, how, off in cases:
    found = difference(side, **how)
    print(f"{what}: largest difference {found:.4f}")
    as_seen &= found > 0.05 if off else found < 1e-4
sys.exit(0 if as_seen else 1)
PYTHON
"$place/venv/bin/python" "$place/try.py" "$place/model.onnx" 2> /dev/null
