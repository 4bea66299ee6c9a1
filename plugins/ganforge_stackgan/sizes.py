"""How large the maps of StackGAN's networks are. Light: the checks read it too."""

SMALLEST = 4  # px of the shorter side of the smallest map, at least
WIDEST = 8  # maps grow no wider than this many times `width`

Size = tuple[int, int]  # height, width


def halved(size: Size) -> Size:
    """Half the size, rounded up: what a convolution with stride 2 leaves."""
    return -(-size[0] // 2), -(-size[1] // 2)


def map_sizes(size: Size) -> list[Size]:
    """The size of an image and of every map below it: halved while both sides keep 4 px.

    64 -> 32, 16, 8, 4; 28 -> 14, 7, 4; 48 x 80 -> 24 x 40, 12 x 20, 6 x 10.
    """
    sizes = [size]
    while min(smaller := halved(sizes[-1])) >= SMALLEST:
        sizes.append(smaller)
    return sizes


def quarter(size: Size) -> Size:
    """The size at which stage II reads an image."""
    return halved(halved(size))


def doublings(small: Size, large: Size) -> list[Size]:
    """The sizes on the way from a small map to a large one, each at most twice the one before.

    16 -> 128: 32, 64, 128. The way back from the large one halves it, rounded up, until the next
    would be no larger than the small one.
    """
    sizes = [large]
    while any(a > b for a, b in zip(halved(sizes[-1]), small, strict=True)):
        sizes.append(halved(sizes[-1]))
    return sizes[::-1]
