"""A folder of images with captions, or with vectors."""

import pytest
import torch
from ganforge_folders.captioned import CaptionedFolder
from ganforge_folders.plugin import CaptionedFolderOptions, describe_captioned
from PIL import Image
from playing import plan_of
from safetensors.torch import save_file

from ganforge import DataError, GanforgeError, ImageOptions, TextSpec, VectorSpec
from ganforge.plugin import Impossible
from ganforge.recipes.problems import RecipeError


def fill(folder, said):
    """Images of these names, each of its own colour, with captions where there are some."""
    for number, (name, caption) in enumerate(said.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(path.with_suffix(".png"))
        if caption is not None:
            path.with_suffix(".txt").write_text(caption, encoding="utf-8", newline="\n")


def described(root, **options):
    return describe_captioned(CaptionedFolderOptions(root=root, **options), ImageOptions())


def dataset(root, **options):
    options = CaptionedFolderOptions(root=root, **options)
    return CaptionedFolder(options, ImageOptions(), describe_captioned(options, ImageOptions()))


SAID = {
    "a": "A small, red bird.",
    "b": "a  large bird",
    "sub/c": "\n small red (fish)\nmore of it\n",
}


def test_words_are_what_occurs_and_the_longest_caption_sets_the_length(tmp_path):
    fill(tmp_path, SAID)
    data = dataset(tmp_path)
    spec = data.description.domains["caption"]
    assert spec == TextSpec(("", "a", "bird", "fish", "large", "red", "small"), 4)
    assert data.description.group("image") == ("image", "caption")
    assert data.count("train", "caption") == data.count("train", "image") == 3
    said = [spec.decode(row) for row in data.rows("train", "caption").tolist()]
    assert said == ["a small red bird", "a large bird", "small red fish"]
    assert data.rows("train", "image") is None
    for index in range(3):  # captions go with their images
        assert data.item("train", "image", index)[0, 0, 0] == 20 * index
        assert spec.decode(data.item("train", "caption", index).tolist()) == said[index]


def test_characters_are_kept_as_they_are(tmp_path):
    fill(tmp_path, {"a": "Ab, c", "b": "c"})
    spec = described(tmp_path, unit="character").domains["caption"]
    assert spec == TextSpec(("", " ", ",", "A", "b", "c"), 5, "character")
    rows = dataset(tmp_path, unit="character").rows("train", "caption").tolist()
    assert [spec.decode(row) for row in rows] == ["Ab, c", "c"]


def test_what_is_held_out_has_captions_too(tmp_path):
    fill(tmp_path / "train", {"a": "red bird", "b": "blue bird"})
    fill(tmp_path / "test", {"a": "green bird"})
    data = dataset(tmp_path)
    spec = data.description.domains["caption"]
    assert data.description.counts["test"] == {"image": 1, "caption": 1}
    assert spec.decode(data.item("test", "caption", 0).tolist()) == "green bird"
    assert spec.decode(data.item("train", "caption", 1).tolist()) == "blue bird"


def test_missing_and_empty_captions_are_told_in_one_line(tmp_path):
    fill(tmp_path, {"a": "red", "b": None, "c": " \n", "d": "...", "e": None})
    with pytest.raises(Impossible) as refused:
        described(tmp_path)
    told = str(refused.value)
    assert "\n" not in told
    assert told.startswith("4 of 5 images have no caption: ")
    assert f"{tmp_path / 'b.txt'} does not exist" in told
    assert f"{tmp_path / 'c.txt'} is empty; {tmp_path / 'd.txt'} is empty; and 1 more" in told
    assert refused.value.key == "root"


def test_captions_that_are_no_text_are_told(tmp_path):
    fill(tmp_path, {"a": "red"})
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Impossible, match=r"a\.txt cannot be read as UTF-8 text"):
        described(tmp_path)


def test_a_check_names_the_files_and_the_line_of_the_recipe(tmp_path):
    fill(tmp_path / "birds", {"a": "red", "b": None})
    recipe = f"""
        recipe = 1
        name = "birds"
        [data]
        use = "captioned-folder"
        root = "{(tmp_path / "birds").as_posix()}"
        [train]
        steps = 1
        [generator]
        use = "mlp"
        [discriminator]
        use = "mlp"
        [losses.adversarial]
        use = "non-saturating"
        """
    with pytest.raises(
        RecipeError, match=r"1 of 2 images have no caption: .*b\.txt does not exist"
    ):
        plan_of(tmp_path, recipe)


def vectors(file, **values):
    save_file({name.replace("__", "/"): torch.tensor(v) for name, v in values.items()}, file)


def test_vectors_come_from_a_file_by_the_names_of_the_images(tmp_path):
    fill(tmp_path / "photos", {"a": None, "b": None, "sub/c": None})
    file = tmp_path / "vectors.safetensors"
    vectors(file, sub__c=[3.0, 4.0], a=[1.0, 2.0], b=[5.0, 6.0], other=[9.0])
    data = dataset(tmp_path / "photos", embeddings=file)
    assert data.description.domains["embedding"] == VectorSpec(2)
    assert "caption" not in data.description.domains
    assert data.rows("train", "embedding").tolist() == [[1, 2], [5, 6], [3, 4]]
    assert data.item("train", "embedding", 2).dtype == torch.float32


def test_vectors_that_are_missing_or_uneven_are_told(tmp_path):
    fill(tmp_path / "photos", {"a": None, "b": None})
    file = tmp_path / "vectors.safetensors"
    with pytest.raises(Impossible, match=r"cannot read .*vectors\.safetensors") as refused:
        described(tmp_path / "photos", embeddings=file)
    assert refused.value.key == "embeddings"
    vectors(file, a=[1.0])
    with pytest.raises(Impossible, match="1 of 2 images have no vector: 'b' is not in"):
        described(tmp_path / "photos", embeddings=file)
    vectors(file, a=[1.0], b=[1.0, 2.0])
    with pytest.raises(Impossible, match=r"no vector as 'a' has, \[1\]: 'b' has the shape \[2\]"):
        described(tmp_path / "photos", embeddings=file)
    vectors(file, a=[1.0], b=[float("nan")])
    with pytest.raises(DataError, match="not finite"):
        dataset(tmp_path / "photos", embeddings=file)


def test_unknown_words_are_named_when_sampling_asks_for_them(tmp_path):
    fill(tmp_path, SAID)
    spec = described(tmp_path).domains["caption"]
    with pytest.raises(GanforgeError, match="green"):
        spec.encode("a green bird")
