"""Judges: classifiers of a run's data, trained once and kept.

From Python:

    judge = judge_of(open_run("digits"))
    judge.logits(images)     # [N, classes]
    judge.features(images)   # [N, 128]
    judge.accuracy           # share of held-out images whose class it finds
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from torch import Tensor
from torch.nn import functional as F

from ganforge import GanforgeError
from ganforge.plugin import ImageSpec, LabelSpec
from ganforge_judge import store
from ganforge_judge.labelled import Labelled, Rows, data_of
from ganforge_judge.network import SETTINGS, JudgeNetwork, blank, train

if TYPE_CHECKING:
    from ganforge import Run

AT_ONCE = 512  # images judged together
GREY = (0.299, 0.587, 0.114)  # of red, green, blue (ITU-R BT.601), as image files are turned grey


@frozen(eq=False)
class Judge:
    """A trained classifier.

    spec: the images it sees; others are resized. classes: what it tells apart. accuracy: share of
    `held_out` images that it did not learn from whose class it finds. identity: eight digits of
    the checksum of its weights: figures compare where it is the same.
    """

    network: JudgeNetwork
    spec: ImageSpec
    classes: LabelSpec
    accuracy: float
    trained: int
    held_out: int
    identity: str
    device: torch.device

    def logits(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] in [-1, 1], of any size and channels -> [N, classes], on the CPU."""
        return self.look(images)[1]

    def features(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] -> what the last layer reads, [N, 128], on the CPU."""
        return self.look(images)[0]

    @torch.no_grad()
    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(features, logits) of images, in one pass."""
        features, logits = [], []
        for part in images.split(AT_ONCE):
            seen = as_seen(part.to(self.device).float(), self.spec)
            found = self.network.features(seen.contiguous(memory_format=torch.channels_last))
            features.append(found.cpu())
            logits.append(self.network.head(found).cpu())
        return torch.cat(features), torch.cat(logits)


def as_seen(images: Tensor, spec: ImageSpec) -> Tensor:
    """Images [N, C, H, W] in [-1, 1] with the channels and the size of a spec (bilinear,
    antialiased). Transparency is put on white."""
    if images.shape[1] == 4 and spec.channels != 4:
        colours, opaque = images[:, :3], (images[:, 3:] + 1) / 2
        images = colours * opaque + (1 - opaque)
    if images.shape[1] == 3 and spec.channels == 1:
        images = (images * images.new_tensor(GREY)[:, None, None]).sum(1, keepdim=True)
    if images.shape[1] == 1:
        images = images.expand(-1, spec.channels, -1, -1)
    if images.shape[2:] != (spec.height, spec.width):
        size = [spec.height, spec.width]
        images = F.interpolate(images, size, mode="bilinear", antialias=True)
    return images


def judge_of(run: Run, domain: str | None = None) -> Judge:
    """The judge of a run's data: read from the cache, or trained, which takes a minute or two.

    domain: the labelled images to judge; may be left out where there is only one such domain.
    Raises GanforgeError for data without labels, and DataError for data that cannot be read.
    """
    return judge_for(data_of(run, domain)[0], run.device)


def judge_for(data: Labelled, device: torch.device) -> Judge:
    """The judge of labelled data, trained by one process while others that want it wait.

    Raises GanforgeError for data of one class, of which every judge is right.
    """
    training, held_out = data.training(), data.held_out()
    _refuse_one_class(data, training)
    name = f"{data.name}-{_hash(data, training, held_out)}"
    network = blank(data.spec, data.classes.classes)
    facts = None
    try:
        facts = store.read(name, network)
    except store.Damaged as damage:
        store.say(str(damage))
    if facts is None:
        with store.held(name, f"the judge of {data.name}"):
            with suppress(store.Damaged):  # reported above
                facts = store.read(name, network)  # of who held it before
            if facts is None:
                network, facts = _trained(data, training, held_out, device)
                facts = store.write(name, network, facts)
    return Judge(
        network=network.to(device).eval().requires_grad_(False),
        spec=data.spec,
        classes=data.classes,
        accuracy=facts["accuracy"],
        trained=len(training),
        held_out=len(held_out),
        identity=facts["sha256"][:8],
        device=device,
    )


def _refuse_one_class(data: Labelled, training: Rows) -> None:
    present = training.labels.unique().tolist()
    if len(present) == 1:
        names = data.classes.names
        of = f"'{names[present[0]]}'" if names else str(present[0])
        raise GanforgeError(
            f"all {len(training):,} training images of {data.name} are of one class, {of}: a judge "
            "of one class is always right, so none is trained; it needs two or more"
        )


def _hash(data: Labelled, training: Rows, held_out: Rows) -> str:
    """Follows from everything that a judge is made of, and from nothing else; not from the place
    of the files, for one."""
    known = [data.component, repr(data.spec), repr(data.classes), len(training), len(held_out)]
    digest = hashlib.blake2b(json.dumps([*known, SETTINGS]).encode(), digest_size=8)
    for rows in (training, held_out):
        digest.update(rows.images.contiguous().numpy().data)
        digest.update(rows.labels.contiguous().numpy().data)
    return digest.hexdigest()


def _trained(
    data: Labelled, training: Rows, held_out: Rows, device: torch.device
) -> tuple[JudgeNetwork, dict[str, Any]]:
    """A judge that was just trained, and what is known about it."""
    store.say(
        f"training the judge of {data.name}, once: {len(training):,} images, {data.spec}, "
        f"{data.classes.classes} classes"
    )
    started = time.perf_counter()
    network = train(training, data.spec, data.classes.classes, device)
    right = 0
    for start in range(0, len(held_out), AT_ONCE):
        part = held_out[start : start + AT_ONCE]
        with torch.no_grad():
            found = network(part.pixels().to(device)).argmax(1).cpu()
        right += int((found == part.labels).sum())
    facts = {
        "dataset": data.component,
        "image": str(data.spec),
        "classes": data.classes.classes,
        "trained": len(training),
        "held_out": len(held_out),
        "accuracy": right / len(held_out),
        "seconds": round(time.perf_counter() - started, 1),
        "torch": torch.__version__,
    }
    store.say(
        f"the judge finds the class of {facts['accuracy']:.2%} of {len(held_out):,} held-out "
        f"images; it took {facts['seconds']:.0f} s"
    )
    return network, facts
