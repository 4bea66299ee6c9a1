"""Archives of data that are known by name, and the options of datasets that may fetch one.

Light, and public for plugins: a dataset's `describe` answers from here while its files are
missing. Fetching itself is in fetch.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from ganforge.interfaces.errors import DataError
from ganforge.interfaces.manifest import Impossible, option, options
from ganforge.recipes.suggestions import nearest

__all__ = ["ARCHIVES", "Archive", "FetchOptions", "RemoteFile", "known"]


@frozen
class RemoteFile:
    """One file to download: from any of these places, with exactly this size and content."""

    name: str
    urls: tuple[str, ...]
    bytes: int
    sha256: str


@frozen(kw_only=True)
class Archive:
    """A public data set.

    files: what is downloaded. unpack: the folder inside the (only) zip file that becomes the
    dataset's folder; None: the files are used as they are.
    places: folders below the dataset's where its files are looked for, the last one where they
    are put. counts: folders of images it holds, with the number of images in each.
    pixels: channels, height and width of its images.
    """

    name: str
    summary: str
    source: str
    licence: str
    files: tuple[RemoteFile, ...]
    unpack: str | None = None
    places: tuple[str, ...] = (".",)
    counts: Mapping[str, int] = field(factory=dict)
    pixels: tuple[int, int, int]

    @property
    def bytes(self) -> int:
        """Size of the download."""
        return sum(file.bytes for file in self.files)

    def missing(self, root: Path) -> list[str]:
        """Files or folders that this folder lacks."""
        if self.unpack is not None:
            return [name for name in self.counts if not _holds_files(root / name)]
        return [file.name for file in self.files if self.find(root, file.name) is None]

    def find(self, root: Path, name: str) -> Path | None:
        """The path of a file, unpacked (without `.gz`) or as it is; None if missing."""
        places = [root / place / name for place in self.places]
        candidates = [path.with_suffix("") for path in places if path.suffix == ".gz"] + places
        return next((path for path in candidates if path.is_file()), None)


def _holds_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def known(name: str) -> Archive:
    """The archive of this name. Raises DataError, which lists the names there are."""
    if name in ARCHIVES:
        return ARCHIVES[name]
    near = nearest(name, ARCHIVES)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise DataError(f"there is no archive '{name}': {hint}known are {', '.join(ARCHIVES)}")


@options
class FetchOptions:
    """Options of every dataset that reads files from a folder, written beside its own."""

    root: Path = option(help="folder that holds the data")
    fetch: str | None = option(
        None, help="known archive to download when files are missing (`ganforge data list`)"
    )
    fallback: str | None = option(
        None, help="dataset to take when the files are missing and cannot be fetched"
    )

    def must_fetch(self) -> bool:
        """Whether `fetch` names an archive that the dataset still lacks."""
        return self.archive is not None and bool(self.archive.missing(self.root))

    @property
    def archive(self) -> Archive | None:
        """The archive that `fetch` names. Raises Impossible for a name that is not known."""
        try:
            return None if self.fetch is None else known(self.fetch)
        except DataError as error:
            raise Impossible(str(error), key="fetch") from error


# Sizes and sums are those that TensorFlow Datasets lists (mnist, cifar10, cycle_gan).


def _mnist_file(name: str, size: int, sha256: str) -> RemoteFile:
    mirrors = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    )
    return RemoteFile(name, tuple(mirror + name for mirror in mirrors), size, sha256)


_MNIST = Archive(
    name="mnist",
    summary="60,000 + 10,000 handwritten digits, 28 x 28 grey",
    source="Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database of handwritten digits",
    licence="CC BY-SA 3.0",
    files=(
        _mnist_file(
            "train-images-idx3-ubyte.gz",
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        _mnist_file(
            "train-labels-idx1-ubyte.gz",
            28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        _mnist_file(
            "t10k-images-idx3-ubyte.gz",
            1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        _mnist_file(
            "t10k-labels-idx1-ubyte.gz",
            4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    places=(".", "raw", "MNIST/raw"),
    pixels=(1, 28, 28),
)

_CIFAR10 = Archive(
    name="cifar10",
    summary="50,000 + 10,000 photographs in ten classes, 32 x 32, binary version",
    source="A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images (2009)",
    licence="the photographs belong to their authors; research use",
    files=(
        RemoteFile(
            "cifar-10-binary.tar.gz",
            (
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/"
                "cifar-10-binary.tar.gz",
            ),
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
    pixels=(3, 32, 32),
)

_HORSE2ZEBRA = Archive(
    name="horse2zebra",
    summary="1,067 + 120 photographs of horses, 1,334 + 140 of zebras, unpaired, 256 x 256",
    source="the data of CycleGAN (arXiv:1703.10593), photographs of ImageNet",
    licence="the photographs belong to their authors; research use",
    files=(
        RemoteFile(
            "horse2zebra.zip",
            (
                "https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/horse2zebra.zip",
                "https://people.eecs.berkeley.edu/~taesung_park/CycleGAN/datasets/horse2zebra.zip",
            ),
            116_867_962,
            "a74d9d392eecca9966b51287a76ca126af473d9de4f3e8fc0e9cda08fa1730a1",
        ),
    ),
    unpack="horse2zebra",
    counts={"trainA": 1067, "trainB": 1334, "testA": 120, "testB": 140},
    pixels=(3, 256, 256),
)

ARCHIVES: dict[str, Archive] = {
    archive.name: archive for archive in (_CIFAR10, _HORSE2ZEBRA, _MNIST)
}
