"""Recipes: their layers and the rule by which they merge; every mistake with its whole message."""

from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ganforge.recipes.grammar import IMAGE_KEYS, LOSS_KEYS, NETWORK_KEYS
from ganforge.recipes.problems import RecipeError, render
from ganforge.recipes.recipe import Recipe, load, origin


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test is in a folder of its own, so that places are as short as people see them."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str, name: str = "r.toml") -> str:
    Path(name).write_text(dedent(text), encoding="utf-8", newline="\n")
    return name


def loaded(text: str, **more) -> Recipe:
    recipe = load(write("recipe = 1\n" + dedent(text)), **more)
    assert not recipe.problems, render(recipe.problems)
    return recipe


def table(text: str, **more) -> dict:
    """The recipe that a text means, without its number."""
    plain = loaded(text, **more).table.plain()
    assert plain.pop("recipe") == 1
    return plain


def refused(name: str, **more) -> str:
    """What is printed about a recipe that cannot be read."""
    with pytest.raises(RecipeError) as caught:
        load(name, **more)
    return render(caught.value.problems).rpartition("\n\n")[0]


# --- names and files ------------------------------------------------------------------------------


def test_the_short_forms_stand_for_the_only_network():
    assert table('[generator]\nuse = "dcgan"\n[discriminator]\nuse = "mlp"\n') == {
        "generators": {"main": {"use": "dcgan"}},
        "discriminators": {"main": {"use": "mlp"}},
    }


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/b", "..", "a\\\\b", "c:x", ""])
def test_no_name_leads_out_of_the_folder_of_runs(name, tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(f'recipe = 1\nname = "{name}"\n[data]\nuse = "x"\n', encoding="utf-8")
    assert "name" in load(path).problems[0].message


def test_a_recipe_is_named_by_itself_or_by_its_file():
    assert loaded('name = "faces"\n[data]\nuse = "x"').name == "faces"
    write('recipe = 1\n[data]\nuse = "x"', "My Faces_2.toml")
    assert load("My Faces_2.toml").name == "my-faces_2"


def test_a_recipe_keeps_its_text_as_given():
    Path("r.toml").write_bytes(b'\xef\xbb\xbfrecipe = 1\r\n[data]\r\nuse = "x" # \xc3\xa9\r\n')
    assert load("r.toml").text == 'recipe = 1\r\n[data]\r\nuse = "x" # é\r\n'


def test_lock_is_left_as_it_is():
    lock = {"preview": {"off": True}, "versions": {"torch": "2.9"}}
    text = '[data]\nuse = "x"\n[lock]\npreview.off = true\nversions = { torch = "2.9" }'
    assert table(text)["lock"] == lock


@pytest.mark.parametrize(
    "name", ["dcgan_mnist", "dcgan-mnist", "dcgan-mnist.toml", "dcgan_mnist.toml"]
)
def test_shipped_recipes_are_found_by_name(name, folder):
    (folder / "shipped").mkdir()
    write('recipe = 1\n[data]\nuse = "x"', "shipped/dcgan_mnist.toml")
    shipped = {"dcgan_mnist": folder / "shipped" / "dcgan_mnist.toml"}
    recipe = load(name, shipped=shipped)
    assert (recipe.name, recipe.path) == ("dcgan_mnist", shipped["dcgan_mnist"])


def test_a_file_wins_over_a_shipped_recipe_and_a_folder_does_not(folder):
    shipped = {"faces": Path(write('recipe = 1\n[data]\nuse = "shipped"', "elsewhere.toml"))}
    (folder / "faces").mkdir()
    assert load("faces", shipped=shipped).table.get("data").get("use") == "shipped"
    (folder / "faces").rmdir()
    write('recipe = 1\n[data]\nuse = "mine"', "faces")
    assert load("faces", shipped=shipped).table.get("data").get("use") == "mine"


def test_a_recipe_that_is_nowhere(folder):
    assert refused("dcgn_mnist", shipped={"dcgan_mnist": folder, "vanilla_mnist": folder}) == (
        """\
error: there is no recipe dcgn_mnist
   = similar: dcgan_mnist, vanilla_mnist
   = no file and no shipped recipe has that name; `ganforge list recipes` lists the shipped ones"""
    )


def test_what_is_no_recipe(folder):
    (folder / "runs").mkdir()
    write("", "runs/resolved.toml")
    write('[project]\nname = "x"\n', "pyproject.toml")
    Path("latin.toml").write_bytes(b"recipe = 1\nname = '\xe9'")
    assert refused("runs") == (
        "error: runs is a folder; a recipe is a TOML file\n"
        f"   = it is the folder of a run: its recipe is {Path('runs') / 'resolved.toml'}"
    )
    assert refused("pyproject.toml") == (
        "error: pyproject.toml is not a recipe: it has none of a recipe's tables\n"
        "   = a recipe begins with `recipe = 1`; `ganforge list recipes` lists examples"
    )
    assert refused("latin.toml") == (
        "error: latin.toml is not UTF-8 text: byte 0xe9 in line 2; save it as UTF-8"
    )
    assert refused("a\0b").startswith("error: there is no recipe a␀b")
    assert refused("a" * 5000).startswith("error: there is no recipe aaa")


# --- layers ---------------------------------------------------------------------------------------

BASE = """
name = "base"
[data]
use = "mnist"
size = 32
flip = true
fetch = "mnist"
root = "data"
[train]
epochs = 10
batch = 64
[optimizer]
lr = 2e-4
betas = [0.5, 0.999]
schedule = { use = "constant-then-linear", constant = 0.5 }
[generator]
use = "dcgan"
width = 64
ema = 0.999
init = { normal = 0.02 }
optimizer = { use = "adam", lr = 1e-4 }
[discriminator]
use = "dcgan"
[losses.adversarial]
use = "hinge"
margin = 2.0
weight = 3.0
every = 2
[losses.identity]
kind = "l2"
weight = 5.0
[preview]
train.steps = 300
generator.width = 16
"""


def over(text: str, **more) -> dict:
    """What the base recipe becomes below another one."""
    write("recipe = 1\n" + BASE, "base.toml")
    return table('extends = "base.toml"\n' + dedent(text), **more)


def test_without_a_layer_everything_is_inherited_but_the_name():
    base = table(BASE)
    assert base.pop("name") == "base"
    assert over("") == base
    assert load("r.toml").name == "r"


def test_tables_merge_and_lists_are_replaced():
    child = over("[optimizer]\nbetas = [0.0, 0.9]\n[generators.main]\nblocks = 3")
    assert child["optimizer"]["betas"] == [0.0, 0.9]
    assert child["optimizer"]["lr"] == 2e-4
    assert child["generators"]["main"]["blocks"] == 3
    assert child["generators"]["main"]["width"] == 64


def test_another_component_takes_the_old_one_s_options_away_and_leaves_the_core_s_keys():
    child = over(
        """
        [data]
        use = "image-folder"
        root = "faces"
        [generator]
        use = "mlp"
        depth = 3
        [losses.adversarial]
        use = "least-squares"
        """
    )
    assert child["data"] == {"use": "image-folder", "root": "faces", "size": 32, "flip": True}
    assert child["losses"]["adversarial"] == {"use": "least-squares", "weight": 3.0, "every": 2}
    generator = child["generators"]["main"]
    assert generator.pop("optimizer") == {"use": "adam", "lr": 1e-4}
    assert generator == {"use": "mlp", "depth": 3, "ema": 0.999, "init": {"normal": 0.02}}


def test_the_same_component_written_again_keeps_its_options():
    child = over('[losses]\nadversarial.use = "hinge"\nidentity.use = "identity"')
    assert child["losses"]["adversarial"]["margin"] == 2.0
    assert child["losses"]["identity"]["kind"] == "l2"
    exact = over('[losses]\nadversarial.use = "ganforge/hinge"\nidentity.use = "l1"')
    assert exact["losses"]["adversarial"]["margin"] == 2.0
    assert exact["losses"]["identity"] == {"use": "l1", "weight": 5.0}


def test_optimizers_and_schedules_follow_the_rule_too():
    child = over('[optimizer]\nuse = "sgd"\nlr = 0.1\n[generator.optimizer]\nuse = "rmsprop"')
    assert child["optimizer"] == {
        "use": "sgd",
        "lr": 0.1,
        "schedule": {"use": "constant-then-linear", "constant": 0.5},
    }
    assert child["generators"]["main"]["optimizer"] == {"use": "rmsprop"}
    assert over('[optimizer]\nuse = "adam"')["optimizer"]["lr"] == 2e-4
    assert over('[optimizer.schedule]\nuse = "cosine"')["optimizer"]["schedule"] == {
        "use": "cosine"
    }


def test_two_ways_to_say_one_thing_do_not_meet():
    assert over("[train]\nsteps = 100")["train"] == {"steps": 100, "batch": 64}
    assert over('[generator]\ninit.run = "runs/a"')["generators"]["main"]["init"] == {
        "run": "runs/a"
    }


def test_the_preview_is_applied_only_when_asked_for():
    assert over("")["generators"]["main"]["width"] == 64
    small = over("[preview]\ntrain.batch = 8", preview=True)
    assert small["train"] == {"steps": 300, "batch": 8}
    assert small["generators"]["main"]["width"] == 16
    assert "preview" not in small
    assert (load("r.toml").has_preview, load("r.toml").preview) == (True, False)
    assert load("r.toml", preview=True).preview


def test_a_preview_that_is_missing_is_told():
    recipe = load(write('recipe = 1\n[data]\nuse = "x"'), preview=True)
    assert not recipe.preview
    assert render(recipe.problems).startswith(
        "error: r.toml has no [preview]\n"
        "   = add a table [preview] with what should be smaller, such as train.steps = 300\n"
    )


def test_set_comes_last_and_may_hold_an_equals_sign():
    sets = [
        "generator.width=8",
        "train.batch = 4",
        "losses.adversarial.use=minimax",
        "data.root=a=b",
        'optimizer.schedule={ use = "cosine", floor = 0.1 }',
        "optimizer.betas=[0, 0.9]",
        "name=other",
        "hooks.checkpoint.every=500",
    ]
    child = over("", preview=True, sets=sets)
    assert child["generators"]["main"]["width"] == 8
    assert child["train"] == {"steps": 300, "batch": 4}
    assert child["losses"]["adversarial"] == {"use": "minimax", "weight": 3.0, "every": 2}
    assert child["data"]["root"] == "a=b"
    assert child["optimizer"]["schedule"] == {"use": "cosine", "floor": 0.1}
    assert child["optimizer"]["betas"] == [0, 0.9]
    assert load("r.toml", sets=sets).name == "other"
    assert child["hooks"] == {"checkpoint": {"every": 500}}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("faces", "faces"),
        (r"C:\new\data", r"C:\new\data"),
        ("'C:\\new'", r"C:\new"),
        ("10_000", 10_000),
        ("2e-4", 2e-4),
        ("true", True),
        ("True", "True"),
        ('"3"', "3"),
        (" a b # c ", "a b # c"),
        ("data/é.zip", "data/é.zip"),
        ("[1, 'a']", [1, "a"]),
        ("# no comment", "# no comment"),
    ],
)
def test_the_value_of_set_is_toml_and_else_text(written, value):
    assert over("", sets=[f"data.root={written}"])["data"]["root"] == value


def test_the_value_of_set_has_its_place_in_the_argument():
    recipe = loaded(BASE, sets=["data.root =  some where"])
    root = recipe.table.get("data").entry("root")
    assert (root.key_span.column, root.value_span.column, root.value_span.length) == (6, 14, 10)
    assert root.value_span.source.folder == Path.cwd()


def test_the_short_form_addresses_the_only_network_whatever_its_name():
    base = '[generators.faces]\nuse = "dcgan"\n[preview]\ngenerator.width = 8'
    assert table(base, preview=True, sets=["generator.blocks=2"])["generators"] == {
        "faces": {"use": "dcgan", "width": 8, "blocks": 2}
    }
    write("recipe = 1\n" + base, "base.toml")
    assert table('extends = "base.toml"\n[generator]\nema = 0.9')["generators"] == {
        "faces": {"use": "dcgan", "ema": 0.9}
    }


def test_like_takes_the_settings_as_they_are_in_the_end():
    recipe = """
        [generators.horse2zebra]
        use = "resnet-translator"
        from = "horse"
        to = "zebra"
        width = 64
        [generators.zebra2horse]
        like = "horse2zebra"
        from = "zebra"
        to = "horse"
        [generators.third]
        like = "zebra2horse"
        use = "unet"
        [losses.identity]
        weight = 5
        [losses.second]
        like = "identity"
        weight = 1
        [preview]
        generators.horse2zebra.width = 24
    """
    made = table(recipe, preview=True, sets=["generators.horse2zebra.blocks=4"])
    assert made["generators"]["zebra2horse"] == {
        "use": "resnet-translator",
        "from": "zebra",
        "to": "horse",
        "width": 24,
        "blocks": 4,
    }
    assert made["generators"]["third"] == {"use": "unet", "from": "zebra", "to": "horse"}
    assert made["losses"]["second"] == {"use": "identity", "weight": 1}
    assert made["losses"]["identity"] == {"weight": 5}


def test_changing_what_was_like_another_drops_the_options_for_it():
    write('recipe = 1\n[losses.a]\nuse = "x"\n[losses.b]\nlike = "a"\nmargin = 1\n', "base.toml")
    made = table('extends = "base.toml"\n[losses.b]\nuse = "y"\n')
    assert made["losses"]["b"] == {"use": "y"}


def test_off_removes_a_table_and_is_remembered():
    recipe = loaded(BASE, sets=["losses.identity.off=true", "hooks.progress.off=true"])
    assert list(recipe.table.plain()["losses"]) == ["adversarial"]
    assert {kind: list(names) for kind, names in recipe.removed.items()} == {
        "losses": ["identity"],
        "hooks": ["progress"],
    }
    assert recipe.removed["losses"]["identity"].key_span.source.text == "losses.identity.off=true"


def test_off_can_be_taken_back_and_is_not_inherited_by_like():
    text = (
        '[losses.a]\nuse = "x"\noff = true\n[losses.b]\nlike = "a"\n[augmentors.flip]\noff = false'
    )
    assert table(text) == {"losses": {"b": {"use": "x"}}, "augmentors": {"flip": {}}}
    assert table(text, sets=["losses.a.off=false"])["losses"] == {
        "a": {"use": "x"},
        "b": {"use": "x"},
    }


def test_parents_of_parents_in_other_folders_and_by_shipped_names(folder):
    (folder / "sub").mkdir()
    write('recipe = 1\n[data]\nuse = "x"\nroot = "here"\n[preview]\ntrain.steps = 1', "sub/a.toml")
    write('recipe = 1\nextends = "a.toml"\n[train]\nbatch = 2', "sub/b.toml")
    child = load(
        write('recipe = 1\nextends = "shipped-b"'), shipped={"shipped_b": folder / "sub/b.toml"}
    )
    assert child.table.plain() == {
        "recipe": 1,
        "data": {"use": "x", "root": "here"},
        "train": {"batch": 2},
    }
    assert child.has_preview
    root = child.table.get("data").entry("root").value_span
    assert root.source.folder == folder / "sub"
    direct = load(write('recipe = 1\nextends = "sub/a.toml"'))
    assert direct.table.get("data").span.source.name == str(Path("sub/a.toml"))


def test_origins():
    write("recipe = 1\n" + BASE, "base.toml")
    recipe = loaded(
        'extends = "base.toml"\n[train]\nbatch = 8\n[preview]\ntrain.threads = 1',
        preview=True,
        sets=["train.seed=3"],
    )
    train = recipe.table.get("train")
    assert {entry.key: origin(entry) for entry in train} == {
        "batch": "r.toml:4",
        "steps": "base.toml [preview] line 34",
        "threads": "[preview] line 6",
        "seed": "--set",
    }
    assert origin(recipe.table.get("data").entry("use")) == "base.toml:5"


def test_the_core_s_keys_of_the_tables():
    assert set(LOSS_KEYS) < {*NETWORK_KEYS, "weight", "every", "start", "stop"}
    assert IMAGE_KEYS == ("size", "load", "fit", "flip", "channels", "resample", "skip_broken")


# --- mistakes -------------------------------------------------------------------------------------


def test_a_parent_that_is_missing():
    write('recipe = 1\nextends = "bse.toml"\nbatch = 3\n')
    assert refused("r.toml", shipped={"base": Path("x")}) == (
        """\
error: there is no recipe bse.toml
  --> r.toml:2:11
   |
 2 | extends = "bse.toml"
   |           ^^^^^^^^^^
   = similar: base
   = no file and no shipped recipe has that name; `ganforge list recipes` lists the shipped ones

error: a recipe has no key 'batch' of its own
  --> r.toml:3:1
   |
 3 | batch = 3
   | ^^^^^ did you mean 'train.batch'?"""
    )


def test_parents_in_a_circle():
    write('recipe = 1\nextends = "b.toml"', "a.toml")
    write('recipe = 1\nextends = "a.toml"', "b.toml")
    assert refused("a.toml") == (
        """\
error: recipes extend each other in a circle: a.toml extends b.toml extends a.toml
  --> b.toml:2:11, extended at a.toml:2
   |
 2 | extends = "a.toml"
   |           ^^^^^^^^"""
    )


def test_mistakes_in_a_parent_say_who_extends_it():
    write('recipe = 1\n[dta]\nuse = "x"\n', "base.toml")
    recipe = load(write('recipe = 1\nextends = "base.toml"\n'))
    assert "  --> base.toml:2:2, extended at r.toml:2\n" in render(recipe.problems)
    write("recipe = 1\n[data]\nuse = x\n", "base.toml")
    assert "  --> base.toml:3:7, extended at r.toml:2\n" in refused("r.toml")


CATALOGUE = [
    (
        "a recipe without its number",
        """
[data]
use = "mnist"
""",
        """
error: a recipe begins with `recipe = 1`
  --> r.toml:1:1
   |
 1 | [data]
   | ^ write it above
   = the number is the version of the grammar
""",
    ),
    (
        "its number below a table",
        """
[data]
use = "mnist"
recipe = 1
""",
        """
error: 'recipe' is below [data], so it belongs to [data]
  --> r.toml:3:1
   |
 1 | [data]
 3 | recipe = 1
   | ^^^^^^ move it to the first line
   = in TOML, every line below a [table] belongs to it
""",
    ),
    (
        "a newer version",
        """
recipe = 2
[data]
use = "mnist"
""",
        """
error: this recipe has version 2, but this ganforge reads version 1
  --> r.toml:1:10
   |
 1 | recipe = 2
   |          ^
   = `pip install --upgrade ganforge` brings a newer one
""",
    ),
    (
        "a version that is no number",
        """
recipe = "1"
[data]
use = "mnist"
""",
        """
error: 'recipe' must be 1
  --> r.toml:1:10
   |
 1 | recipe = "1"
   |          ^^^ write 1
""",
    ),
    (
        "a version that is no integer",
        """
recipe = true
[data]
use = "mnist"
""",
        """
error: 'recipe' must be 1
  --> r.toml:1:10
   |
 1 | recipe = true
   |          ^^^^ write 1
""",
    ),
    (
        "an unknown table",
        """
recipe = 1
[genrator]
use = "dcgan"
""",
        """
error: a recipe has no table [genrator]
  --> r.toml:2:2
   |
 2 | [genrator]
   |  ^^^^^^^^ did you mean [generator]?
   = there are: data, train, noise, domains, optimizer, generator, generators, discriminator,
       discriminators, losses, augmentors, hooks, metrics, preview
""",
    ),
    (
        "tables of other frameworks",
        """
recipe = 1
[dataset]
use = "mnist"
[critic]
use = "dcgan"
[loss.adversarial]
use = "hinge"
[callbacks.samples]
every = 3
[scheduler]
use = "cosine"
""",
        """
error: a recipe has no table [dataset]
  --> r.toml:2:2
   |
 2 | [dataset]
   |  ^^^^^^^ did you mean [data]?

error: a recipe has no table [critic]
  --> r.toml:4:2
   |
 4 | [critic]
   |  ^^^^^^ did you mean [discriminator]?

error: a recipe has no table [loss]
  --> r.toml:6:2
   |
 6 | [loss.adversarial]
   |  ^^^^ did you mean [losses]?

error: a recipe has no table [callbacks]
  --> r.toml:8:2
   |
 8 | [callbacks.samples]
   |  ^^^^^^^^^ did you mean [hooks]?

error: a recipe has no table [scheduler]
  --> r.toml:10:2
   |
10 | [scheduler]
   |  ^^^^^^^^^ did you mean [optimizer]?
""",
    ),
    (
        "a table that nobody knows",
        """
recipe = 1
[rainbow]
x = 1
[data]
use = "mnist"
""",
        """
error: a recipe has no table [rainbow]
  --> r.toml:2:2
   |
 2 | [rainbow]
   |  ^^^^^^^ did you mean [train]?
   = there are: data, train, noise, domains, optimizer, generator, generators, discriminator,
       discriminators, losses, augmentors, hooks, metrics, preview
""",
    ),
    (
        "keys of other frameworks at the top",
        """
recipe = 1
batch_size = 64
n_critic = 5
ngf = 64
foo = 3
[data]
use = "mnist"
""",
        """
error: a recipe has no key 'batch_size' of its own
  --> r.toml:2:1
   |
 2 | batch_size = 64
   | ^^^^^^^^^^ did you mean 'train.batch'?

error: a recipe has no key 'n_critic' of its own
  --> r.toml:3:1
   |
 3 | n_critic = 5
   | ^^^^^^^^ did you mean 'train.discriminator_steps'?

error: a recipe has no key 'ngf' of its own
  --> r.toml:4:1
   |
 4 | ngf = 64
   | ^^^ did you mean 'generator.width'?

error: a recipe has no key 'foo' of its own
  --> r.toml:5:1
   |
 5 | foo = 3
   | ^^^
   = there are: recipe, name, extends, data, train, noise, domains, optimizer, generator,
       generators, discriminator, discriminators, losses, augmentors, hooks, metrics, preview
""",
    ),
    (
        "values where tables must be",
        """
recipe = 1
data = "mnist"
generator = "dcgan"
losses = ["hinge"]
noise = 100
[augmentors]
flip = true
""",
        """
error: 'data' must be a table, not "mnist"
  --> r.toml:2:8
   |
 2 | data = "mnist"
   |        ^^^^^^^ write [data] and below it use = "mnist"

error: 'generator' must be a table, not "dcgan"
  --> r.toml:3:13
   |
 3 | generator = "dcgan"
   |             ^^^^^^^ write [generator] and below it use = "dcgan"

error: 'losses' must be a table, not a list
  --> r.toml:4:10
   |
 4 | losses = ["hinge"]
   |          ^^^^^^^^^ write [losses.NAME] for each

error: 'noise' must be a table, not 100
  --> r.toml:5:9
   |
 5 | noise = 100
   |         ^^^ write [noise] and its keys below

error: 'augmentors.flip' must be a table, not true
  --> r.toml:7:8
   |
 6 | [augmentors]
 7 | flip = true
   |        ^^^^ write [augmentors.flip] and its keys below
""",
    ),
    (
        "a table where a value must be",
        """
recipe = 1
[name]
x = 1
[data]
use = { name = "mnist" }
[losses.a]
use = "hinge"
every = { x = 1 }
""",
        """
error: 'name' must be text, not a table
  --> r.toml:2:1
   |
 2 | [name]
   | ^^^^^^

error: 'data.use' must be the name of a component, not a table
  --> r.toml:5:7
   |
 4 | [data]
 5 | use = { name = "mnist" }
   |       ^^^^^^^^^^^^^^^^^^

error: 'losses.a.every' must be a value, not a table
  --> r.toml:8:1
   |
 6 | [losses.a]
 8 | every = { x = 1 }
   | ^^^^^
""",
    ),
    (
        "a list of tables",
        """
recipe = 1
[data]
use = "mnist"
[[losses]]
use = "hinge"
[[generator]]
use = "dcgan"
""",
        """
error: 'losses' must be a table, not a list
  --> r.toml:4:1
   |
 4 | [[losses]]
   | ^^^^^^^^^^ write [losses.NAME] for each

error: 'generator' must be a table, not a list
  --> r.toml:6:1
   |
 6 | [[generator]]
   | ^^^^^^^^^^^^^ write [generator] and its keys below
""",
    ),
    (
        "[generator] with names",
        """
recipe = 1
[generator.horse]
use = "dcgan"
[generator.zebra]
like = "horse"
""",
        """
error: [generator] is the only generator and has no name
  --> r.toml:2:12
   |
 2 | [generator.horse]
   |            ^^^^^ write [generators.horse]

error: [generator] is the only generator and has no name
  --> r.toml:4:12
   |
 4 | [generator.zebra]
   |            ^^^^^ write [generators.zebra]
""",
    ),
    (
        "[generators] without names",
        """
recipe = 1
[generators]
use = "dcgan"
[losses]
use = "hinge"
""",
        """
error: [generators] holds one table per name, and 'use' is not a table
  --> r.toml:3:1
   |
 2 | [generators]
 3 | use = "dcgan"
   | ^^^ write it below [generator], or [generators.NAME]

error: [losses] holds one table per name, and 'use' is not a table
  --> r.toml:5:1
   |
 4 | [losses]
 5 | use = "hinge"
   | ^^^ write it below [losses.NAME]
""",
    ),
    (
        "both forms of one kind",
        """
recipe = 1
[generator]
use = "dcgan"
[generators.zebra]
use = "dcgan"
""",
        """
error: [generator] is the only generator, but there is also [generators]
  --> r.toml:2:2
   |
 2 | [generator]
   |  ^^^^^^^^^ write [generators.NAME] for each
 4 | [generators.zebra]
   |  ---------- here
""",
    ),
    (
        "names that are none",
        """
recipe = 1
[losses.Adversarial]
use = "hinge"
[generators."horse 2 zebra"]
use = "dcgan"
[hooks."-"]
every = 3
[domains.Small]
of = "image"
[train.phases."Warm Up"]
share = 0.5

""",
        """
error: 'Adversarial' cannot be the name of a loss
  --> r.toml:2:9
   |
 2 | [losses.Adversarial]
   |         ^^^^^^^^^^^ write adversarial
   = names are made of a to z, 0 to 9, - and _, and begin with a letter or a digit

error: 'horse 2 zebra' cannot be the name of a generator
  --> r.toml:4:13
   |
 4 | [generators."horse 2 zebra"]
   |             ^^^^^^^^^^^^^^^ write horse-2-zebra
   = names are made of a to z, 0 to 9, - and _, and begin with a letter or a digit

error: '-' cannot be the name of a hook
  --> r.toml:6:8
   |
 6 | [hooks."-"]
   |        ^^^
   = names are made of a to z, 0 to 9, - and _, and begin with a letter or a digit

error: 'Small' cannot be the name of a domain
  --> r.toml:8:10
   |
 8 | [domains.Small]
   |          ^^^^^ write small
   = names are made of a to z, 0 to 9, - and _, and begin with a letter or a digit

error: 'Warm Up' cannot be the name of a phase
  --> r.toml:10:15
   |
10 | [train.phases."Warm Up"]
   |               ^^^^^^^^^ write warm-up
   = names are made of a to z, 0 to 9, - and _, and begin with a letter or a digit
""",
    ),
    (
        "a name for the run that is no folder",
        """
recipe = 1
name = "Faces, small"
[data]
use = "x"
""",
        """
error: "Faces, small" cannot be the name of a run folder
  --> r.toml:2:8
   |
 2 | name = "Faces, small"
   |        ^^^^^^^^^^^^^^ write "faces-small"
   = names are made of a to z, 0 to 9, - and _, and begin with a letter or a digit
""",
    ),
    (
        "reserved keys of the wrong kind",
        """
recipe = 1
[losses.a]
use = 3
[losses.b]
off = 1
[losses.c]
like = ["a"]
[generator]
use = "dcgan"
optimizer = "adam"
schedule = 0.5
init = 0.02
to = 3
""",
        """
error: 'losses.a.use' must be the name of a component, not 3
  --> r.toml:3:7
   |
 2 | [losses.a]
 3 | use = 3
   |       ^

error: 'losses.b.off' must be true or false, not 1
  --> r.toml:5:7
   |
 4 | [losses.b]
 5 | off = 1
   |       ^ write true

error: 'losses.c.like' must be the name of another one, not a list
  --> r.toml:7:8
   |
 6 | [losses.c]
 7 | like = ["a"]
   |        ^^^^^

error: 'generator.optimizer' must be a table, not "adam"
  --> r.toml:10:13
   |
 8 | [generator]
10 | optimizer = "adam"
   |             ^^^^^^ write optimizer = { use = "adam" }

error: 'generator.schedule' must be a table, not 0.5
  --> r.toml:11:12
   |
 8 | [generator]
11 | schedule = 0.5
   |            ^^^ write schedule = { use = ... }

error: 'generator.init' must be a table, not 0.02
  --> r.toml:12:8
   |
 8 | [generator]
12 | init = 0.02
   |        ^^^^ write init = { normal = 0.02 }

error: 'generator.to' must be the name of a domain, not 3
  --> r.toml:13:6
   |
 8 | [generator]
13 | to = 3
   |      ^
""",
    ),
    (
        "an optimizer of the wrong kind",
        """
recipe = 1
[optimizer]
use = 3
schedule = "cosine"
[train]
phases = ["warm"]
""",
        """
error: 'optimizer.use' must be the name of a component, not 3
  --> r.toml:3:7
   |
 2 | [optimizer]
 3 | use = 3
   |       ^

error: 'optimizer.schedule' must be a table, not "cosine"
  --> r.toml:4:12
   |
 2 | [optimizer]
 4 | schedule = "cosine"
   |            ^^^^^^^^ write schedule = { use = "cosine" }

error: 'train.phases' must be a table, not a list
  --> r.toml:6:10
   |
 5 | [train]
 6 | phases = ["warm"]
   |          ^^^^^^^^ write [train.phases] and its keys below
""",
    ),
    (
        "like nothing",
        """
recipe = 1
[losses.a]
like = "b"
[generators.horse]
use = "x"
[generators.zebra]
like = "hors"
[discriminators.a]
use = "x"
[discriminators.b]
like = "discriminators.a"
""",
        """
error: there is no loss 'b' that 'a' could be like
  --> r.toml:3:8
   |
 2 | [losses.a]
 3 | like = "b"
   |        ^^^

error: there is no generator 'hors' that 'zebra' could be like
  --> r.toml:7:8
   |
 6 | [generators.zebra]
 7 | like = "hors"
   |        ^^^^^^ did you mean 'horse'?
   = there are: horse

error: there is no discriminator 'discriminators.a' that 'b' could be like
  --> r.toml:11:8
   |
10 | [discriminators.b]
11 | like = "discriminators.a"
   |        ^^^^^^^^^^^^^^^^^^ did you mean 'a'?
   = there are: a
""",
    ),
    (
        "like in a circle",
        """
recipe = 1
[losses.a]
like = "b"
[losses.b]
like = "c"
[losses.c]
like = "a"
[losses.d]
like = "c"
[losses.e]
like = "e"
""",
        """
error: 'like' goes in a circle: a like b like c like a
  --> r.toml:7:8
   |
 6 | [losses.c]
 7 | like = "a"
   |        ^^^

error: 'like' goes in a circle: e like e
  --> r.toml:11:8
   |
10 | [losses.e]
11 | like = "e"
   |        ^^^
""",
    ),
    (
        "off for what is not there",
        """
recipe = 1
[losses.adversarial]
use = "hinge"
[losses.adverserial]
off = true
[augmentors.flip]
off = true
""",
        """
error: there is no loss 'adverserial' to turn off
  --> r.toml:4:9
   |
 4 | [losses.adverserial]
   |         ^^^^^^^^^^^ did you mean 'adversarial'?
   = there are: adversarial

error: there is no augmentor 'flip' to turn off
  --> r.toml:6:13
   |
 6 | [augmentors.flip]
   |             ^^^^
   = the recipe has no augmentors
""",
    ),
    (
        "what cannot stand in a preview",
        """
recipe = 1
[data]
use = "mnist"
[preview]
name = "x"
recipe = 1
trian.steps = 3
data = 3
preview.x = 1
""",
        """
error: 'name' is not allowed in [preview]
  --> r.toml:5:1
   |
 4 | [preview]
 5 | name = "x"
   | ^^^^

error: 'recipe' is not allowed in [preview]
  --> r.toml:6:1
   |
 4 | [preview]
 6 | recipe = 1
   | ^^^^^^

error: [preview] has no table [trian]
  --> r.toml:7:1
   |
 4 | [preview]
 7 | trian.steps = 3
   | ^^^^^ did you mean [preview.train]?
   = there are: data, train, noise, domains, optimizer, generator, generators, discriminator,
       discriminators, losses, augmentors, hooks, metrics

error: 'preview.data' must be a table, not 3
  --> r.toml:8:8
   |
 4 | [preview]
 8 | data = 3
   |        ^ write [preview.data] and its keys below

error: 'preview' is not allowed in [preview]
  --> r.toml:9:1
   |
 4 | [preview]
 9 | preview.x = 1
   | ^^^^^^^
""",
    ),
    (
        "several parents",
        """
recipe = 1
extends = ["a.toml", "b.toml"]
[data]
use = "x"
""",
        """
error: 'extends' must be text, not a list
  --> r.toml:2:11
   |
 2 | extends = ["a.toml", "b.toml"]
   |           ^^^^^^^^^^^^^^^^^^^^
   = a recipe extends only one other
""",
    ),
]


@pytest.mark.parametrize(
    ("text", "message"),
    [pytest.param(text, message, id=mistake) for mistake, text, message in CATALOGUE],
)
def test_a_mistake_is_told_with_its_place_and_what_to_write(text, message):
    recipe = load(write(text.removeprefix("\n")))
    assert render(recipe.problems).rpartition("\n\n")[0] == message.strip("\n")


HORSES = """\
recipe = 1
name = "horses"

[data]
use = "unpaired-folders"

[train]
epochs = 200

[generators.horse2zebra]
use = "resnet-translator"

[generators.zebra2horse]
like = "horse2zebra"

[losses.adversarial]
use = "least-squares"

[losses.identity]
weight = 5.0
"""

SETS = [
    (
        "no =",
        "train.steps",
        """
error: --set takes KEY=VALUE
  --> --set
   |
   | train.steps
   | ^^^^^^^^^^^ for example train.steps=500
""",
    ),
    (
        "no value",
        "train.steps=",
        """
error: --set has no value
  --> --set
   |
   | train.steps=
   | ^^^^^^^^^^^^ for example train.steps=500
""",
    ),
    (
        "no key",
        "=3",
        """
error: --set takes KEY=VALUE
  --> --set
   |
   | =3
   | ^^ for example train.steps=500
""",
    ),
    (
        "a key that is none",
        "train steps=3",
        """
error: 'train steps' is not a key
  --> --set
   |
   | train steps=3
   | ^^^^^^^^^^^ write a.b.c=VALUE
""",
    ),
    (
        "an unknown table",
        "trian.steps=3",
        """
error: a recipe has no table [trian]
  --> --set
   |
   | trian.steps=3
   | ^^^^^ did you mean [train]?
   = there are: data, train, noise, domains, optimizer, generator, generators, discriminator,
       discriminators, losses, augmentors, hooks, metrics
""",
    ),
    (
        "a stranger's word",
        "batch_size=3",
        """
error: a recipe has no key 'batch_size' of its own
  --> --set
   |
   | batch_size=3
   | ^^^^^^^^^^ did you mean 'train.batch'?
""",
    ),
    (
        "a slip in a loss's name",
        "losses.adverserial.weight=2",
        """
error: there is no loss 'adverserial'
  --> --set
   |
   | losses.adverserial.weight=2
   |        ^^^^^^^^^^^ did you mean 'adversarial'?
   = there are: adversarial, identity
""",
    ),
    (
        "a slip in a network's name",
        "generators.horse3zebra.width=2",
        """
error: there is no generator 'horse3zebra'
  --> --set
   |
   | generators.horse3zebra.width=2
   |            ^^^^^^^^^^^ did you mean 'horse2zebra'?
   = there are: horse2zebra, zebra2horse
""",
    ),
    (
        "off for what is not there",
        "losses.idnetity.off=true",
        """
error: there is no loss 'idnetity' to turn off
  --> --set
   |
   | losses.idnetity.off=true
   |        ^^^^^^^^ did you mean 'identity'?
   = there are: adversarial, identity
""",
    ),
    (
        "a list that does not end",
        "optimizer.betas=[0.5",
        """
error: the list does not end
  --> --set
   |
   | optimizer.betas=[0.5
   |                 ^^^^ close it with ]
""",
    ),
    (
        "two keys",
        "train.steps=1\ntrain.batch=2",
        """
error: --set takes one KEY=VALUE
  --> --set
   |
   | train.steps=1
   | ^^^^^^^^^^^^^ write --set for each
""",
    ),
    (
        "a layer",
        "preview.train.steps=3",
        """
error: 'preview' is not allowed in --set
  --> --set
   |
   | preview.train.steps=3
   | ^^^^^^^
""",
    ),
    (
        "the only generator of two",
        "generator.width=8",
        """
error: 'generator' is the only generator, but there are 2
  --> --set
   |
   | generator.width=8
   | ^^^^^^^^^
   = write one of: generators.horse2zebra, generators.zebra2horse
""",
    ),
    (
        "a value for a table",
        "data=mnist",
        """
error: 'data' must be a table, not "mnist"
  --> --set
   |
   | data=mnist
   |      ^^^^^ write data.use=mnist
""",
    ),
]


@pytest.mark.parametrize(
    ("argument", "message"),
    [pytest.param(argument, message, id=mistake) for mistake, argument, message in SETS],
)
def test_a_mistake_in_an_argument_is_told_with_its_place(argument, message):
    recipe = load(write(HORSES), sets=[argument])
    assert render(recipe.problems).rpartition("\n\n")[0] == message.strip("\n")


def test_a_mistake_in_the_preview_is_told_without_preview_too():
    text = HORSES + "[preview]\ngenerator.width = 3\nlosses.identiti.weight = 1\n"
    problems = load(write(text)).problems
    assert [problem.message for problem in problems] == [
        "'generator' is the only generator, but there are 2",
        "there is no loss 'identiti'",
    ]


def test_what_is_broken_is_left_out_so_that_the_rest_can_be_checked():
    text = "recipe = 1\n[losses]\na = 3\nb.use = 3\nc.use = 'x'\n[generator.horse]\nuse = 'y'\n"
    recipe = load(write(text + "[discriminators]\nuse = 'z'\n[rainbow]\nx = 1\n"))
    assert len(recipe.problems) == 5
    assert recipe.table.plain() == {
        "recipe": 1,
        "losses": {"c": {"use": "x"}},
        "generators": {"horse": {"use": "y"}},
        "discriminators": {"main": {"use": "z"}},
    }


# --- any input ------------------------------------------------------------------------------------

WHOLE = f"""\
{HORSES}
[optimizer]
betas = [0.5, 0.999]
schedule = {{ use = "constant-then-linear", constant = 0.5 }}

[hooks.samples]
off = true

[preview]
train.steps = 500 # ü
generators.horse2zebra.width = 24
""".encode()

_PIECES = st.sampled_from(
    [
        piece.encode()
        for piece in ("[", "]", "{", "}", '"', "'", "=", ".", ",", "\n", "\r", "\\", "#")
    ]
    + [
        piece.encode()
        for piece in ("“", "\0", '"""', "[[", "off = true\n", "like", "generator", "1e9")
    ]
    + [b"extends = 'r.toml'\n", b"9" * 30, b"-", b"use", b"\xff", b"\xc3"]
)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    data = bytearray(WHOLE)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = min(start + draw(st.integers(0, 30)), len(data))
        data[start:stop] = draw(
            _PIECES | st.binary(max_size=3) | st.just(bytes(data[start:stop] * 2))
        )
    return bytes(data)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(
    mutations(), st.text(max_size=20) | st.sampled_from(["generator.width=3", "losses.a.off=true"])
)
@example(b"recipe = 1\n[losses.a]\nlike = 'a'", "=")
@example(WHOLE, "a" + ".a" * 2000 + "=1")
@example(WHOLE, "\udcff=\udcff")
def test_no_recipe_and_no_argument_whatever_ends_in_anything_but_problems(data, argument):
    Path("r.toml").write_bytes(data)
    try:
        recipe = load("r.toml", preview=True, sets=[argument])
        problems = recipe.problems
        assert not {"extends", "preview", "generator", "discriminator"} & set(recipe.table.entries)
    except RecipeError as error:
        problems = error.problems
        assert problems
    assert render(problems)
    for problem in problems:
        if problem.span is not None:
            lines = problem.span.source.lines
            assert 1 <= problem.span.line <= len(lines)
            assert 1 <= problem.span.column <= len(lines[problem.span.line - 1]) + 1
