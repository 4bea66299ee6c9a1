"""The Inception network of FID, built by torch-fidelity, its weights from a file of safetensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch_fidelity import feature_extractor_inceptionv3 as upstream

from ganforge import GanforgeError

FEATURES = ["2048", "logits_unbiased"]


def inception(path: Path) -> tuple[upstream.FeatureExtractorInceptionV3, str]:
    """The network in eval mode, and the SHA-256 of its weights whatever file they came in.

    It turns images uint8 [N, 3, H, W] into (features [N, 2048], logits [N, 1008] without bias).
    Raises GanforgeError for a file that does not hold its weights.
    """
    if not path.is_file():
        raise GanforgeError(
            f"there is no file {path} with Inception's weights; docs/metrics.md says how to get it"
        )
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise GanforgeError(f"cannot read Inception's weights from {path}: {error}") from error
    try:
        network = _built(weights)
    except RuntimeError as error:
        raise GanforgeError(
            f"{path} does not hold the weights of FID's Inception (pt_inception-2015-12-05; "
            "torchvision's inception_v3 is another network): docs/metrics.md says how to get them"
        ) from error
    return network, fingerprint(weights)


def _built(weights: Mapping[str, Tensor]) -> upstream.FeatureExtractorInceptionV3:
    """torch-fidelity's constructor fetches weights and unpickles them: instead of what it would
    fetch it is given these. Raises RuntimeError where they do not fit."""
    with patch.object(upstream, "load_state_dict_from_url", lambda *_, **__: weights):
        return upstream.FeatureExtractorInceptionV3("inception-v3-compat", FEATURES, verbose=False)


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors by name, the same for every file that holds them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
