"""The tables of a recipe that belong to the core: what may be written in them, with bounds.

Light, and read by the same code as the options of components (structure.py).
"""

from __future__ import annotations

from typing import Literal

from ganforge.interfaces.manifest import option, options


@options
class TrainSettings:
    """`[train]`"""

    steps: int | None = option(None, at_least=1, help="steps of the run; or give `epochs`")
    epochs: float | None = option(
        None,
        above=0,
        at_most=1_000_000_000,
        help="passes of the discriminators over the training set; or give `steps`",
    )
    batch: int = option(64, at_least=1, help="items of each domain per update")
    discriminator_steps: int = option(
        1, at_least=1, help="updates of the discriminators per step, a fresh batch each"
    )
    accumulate: int = option(
        1, at_least=1, help="parts that a batch is split into; gradients add up"
    )
    sync_batch_norm: bool = option(
        False, help="BatchNorm over the rows of all processes, not of each by itself"
    )
    precision: Literal["auto", "fp32", "bf16"] = option(
        "auto", help="auto: bf16 where the hardware has it natively, else fp32"
    )
    layout: Literal["auto", "contiguous", "channels_last"] = option(
        "auto", help="memory layout of images; auto: what each network runs fastest with"
    )
    compile: bool = option(
        False, help="compile networks by torch.compile; the first steps then take up to minutes"
    )
    products: Literal["auto", "torch", "onednn"] = option(
        "auto",
        help="what multiplies the float32 matrices of dense layers on CPUs; auto: oneDNN where "
        "the processor is not Intel's",
    )
    device: str = option(
        "auto", help="auto (CUDA if there is one, else CPU), cpu, cuda, cuda:1, mps"
    )
    threads: int | None = option(
        None, at_least=1, at_most=1024, help="CPU threads; unset: all cores"
    )
    hold: float = option(
        1.0, at_least=0, help="GB of decoded data to hold in memory; larger data is streamed"
    )
    workers: int | None = option(
        None,
        at_least=0,
        at_most=256,
        help="processes that decode streamed data, 0: threads; unset: as suits the machine",
    )
    cache: bool = option(False, help="keep decoded images in a file of the cache folder")
    seed: int = option(0, at_least=0, help="every draw of the run follows from it")


@options
class PhaseSettings:
    """`[train.phases.NAME]`"""

    train: list[str] = option(help="networks that this phase trains; the others are frozen")
    losses: list[str] | None = option(None, help="losses that play; unset: all")
    discriminator_steps: int | None = option(None, at_least=1, help="overrides [train]")
    steps: int | None = option(None, at_least=1, help="steps of this phase; or give `share`")
    share: float | None = option(None, above=0, at_most=1, help="share of the run's steps")


@options
class NoiseSettings:
    """`[noise]`, and `[domains.NAME]` with neither `of` nor `vector`"""

    dim: int = option(100, at_least=1, help="numbers per drawn vector")
    distribution: Literal["normal", "uniform"] = option(
        "normal", help="N(0, 1), or uniform in [-1, 1]"
    )


@options
class DerivedSettings:
    """`[domains.NAME]` with `of = "image"`: the images at another size, in grey, or as a view"""

    size: int | tuple[int, int] | None = option(
        None, at_least=1, help="height and width in pixels, or [height, width]; unset: the same"
    )
    channels: int | None = option(
        None, at_least=1, at_most=4, help="1 makes colour images grey; unset: the same"
    )

    def pixels(self, height: int, width: int) -> tuple[int, int]:
        """(height, width), for images of the given size."""
        size = (self.size, self.size) if isinstance(self.size, int) else self.size
        return size or (height, width)


@options
class MadeSettings:
    """`[domains.NAME]` with `vector = 256`: vectors that only generators make"""

    vector: int = option(help="numbers per vector", at_least=1)


@options
class InitSettings:
    """`init` of a network: `{ normal = 0.02 }` or `{ run = "runs/faces" }`"""

    normal: float | None = option(
        None, above=0, help="weights N(0, this), norm weights N(1, this), biases 0"
    )
    run: str | None = option(None, help="run folder whose network of the same name is taken")


@options
class Adam:
    """Adam (arXiv:1412.6980)"""

    lr: float = option(2e-4, above=0, help="learning rate")
    betas: tuple[float, float] = option(
        (0.5, 0.999), at_least=0, below=1, help="decay of the two moments"
    )
    eps: float = option(1e-8, above=0, help="added to the denominator")
    weight_decay: float = option(0.0, at_least=0, help="L2 penalty")


@options
class AdamW:
    """AdamW (arXiv:1711.05101)"""

    lr: float = option(2e-4, above=0, help="learning rate")
    betas: tuple[float, float] = option(
        (0.5, 0.999), at_least=0, below=1, help="decay of the two moments"
    )
    eps: float = option(1e-8, above=0, help="added to the denominator")
    weight_decay: float = option(0.01, at_least=0, help="decoupled weight decay")


@options
class RMSprop:
    """RMSprop"""

    lr: float = option(1e-4, above=0, help="learning rate")
    alpha: float = option(0.99, at_least=0, below=1, help="decay of the squared gradient")
    eps: float = option(1e-8, above=0, help="added to the denominator")
    momentum: float = option(0.0, at_least=0, help="momentum")
    weight_decay: float = option(0.0, at_least=0, help="L2 penalty")


@options
class SGD:
    """Stochastic gradient descent"""

    lr: float = option(1e-2, above=0, help="learning rate")
    momentum: float = option(0.0, at_least=0, help="momentum")
    weight_decay: float = option(0.0, at_least=0, help="L2 penalty")


OPTIMIZERS: dict[str, type] = {"adam": Adam, "adamw": AdamW, "rmsprop": RMSprop, "sgd": SGD}


@options
class Constant:
    """The learning rate as given, after an optional warm-up"""

    warmup: float = option(0.0, at_least=0, below=1, help="share of the run that rises from 0")


@options
class ConstantThenLinear:
    """Constant, then linear to 0 (CycleGAN, arXiv:1703.10593)"""

    constant: float = option(0.5, at_least=0, at_most=1, help="share of `until` that is constant")
    until: float = option(1.0, above=0, at_most=1, help="share of the run at which it is at 0")


@options
class Cosine:
    """Half a cosine from the learning rate to `floor` times it"""

    floor: float = option(0.0, at_least=0, at_most=1, help="what is left at the end")
    warmup: float = option(0.0, at_least=0, below=1, help="share of `until` that rises from 0")
    until: float = option(1.0, above=0, at_most=1, help="share of the run at which it ends")


SCHEDULES: dict[str, type] = {
    "constant": Constant,
    "constant-then-linear": ConstantThenLinear,
    "cosine": Cosine,
}
