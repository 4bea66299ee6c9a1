"""From a recipe to a plan: every message of composition, where it points, what is assumed."""

import attrs
import pytest
from playing import CYCLE, ONE_PAIR, plan_of, recipe_file, registry
from recipe_text import RecipeText

from ganforge.planning.compose import compose
from ganforge.plugin import (
    Component,
    DataDescription,
    ImageSpec,
    Impossible,
    LabelSpec,
    NoiseSpec,
    Ref,
    option,
    options,
)
from ganforge.recipes.problems import RecipeError, in_file_order
from ganforge.recipes.recipe import load

ONE = """\
recipe = 1
[data]
use = "dots"
[train]
steps = 4
batch = 6
[generator]
use = "mlp"
[discriminator]
use = "mlp"
[losses.adversarial]
use = "non-saturating"
"""

TWO = RecipeText("""\
recipe = 1
[data]
use = "dots"
pair = true
[train]
steps = 4
[generators.l2d]
use = "resnet-translator"
from = "light"
to = "dark"
[generators.d2l]
use = "resnet-translator"
from = "dark"
to = "light"
[discriminators.dark]
use = "patchgan"
on = "dark"
layers = 1
[discriminators.light]
use = "patchgan"
on = "light"
layers = 1
[losses.adversarial]
use = "least-squares"
""")


# --- made-up components ---------------------------------------------------------------------------


def made_up(kind, name="odd", options_class=None, **facts):
    """A third party's component, whose code no test of this file loads."""
    own = (options_class,) if options_class else ()
    return Component(kind, name, "nowhere:Odd", *own, provider="tests", version="0", **facts)


def needy(*generator, discriminator=()):
    """A loss that asks for these names."""
    needs = {"generator": generator, "discriminator": discriminator}
    return made_up("loss", needs={side: names for side, names in needs.items() if names})


def refuse(*_):
    raise Impossible("it cannot be")


# --- telling --------------------------------------------------------------------------------------


def told(folder, text, *components, sets=()):
    """Each problem as (line, marked text, message, label, *notes), in the order of printing."""
    with pytest.raises(RecipeError) as caught:
        plan_of(folder, text, *components, sets=sets)
    return [shown(problem) for problem in in_file_order(caught.value.problems)]


def shown(problem):
    span = problem.span
    line = span.source.lines[span.line - 1]
    marked = line[span.column - 1 : span.column - 1 + span.length]
    return (span.line, marked, problem.message, problem.label, *problem.notes)


def altered(text, *changes):
    """The text with each (old, new) replaced; each old one must be there once."""
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def in_table(text, header, *lines):
    """The text with lines added below a header."""
    return altered(text, (f"{header}\n", "\n".join((header, *lines, ""))))


# --- names ----------------------------------------------------------------------------------------


def all_of(kind):
    """The last line of a message about an unknown component."""
    return "there are: " + ", ".join(component.name for component in registry().of(kind))


UNKNOWN = [
    (
        altered(ONE, ('[generator]\nuse = "mlp"', '[generator]\nuse = "mpl"')),
        (
            8,
            '"mpl"',
            "there is no generator 'mpl'",
            "",
            "similar: 'mlp'",
            all_of("generator"),
        ),
    ),
    (
        altered(ONE, ('[discriminator]\nuse = "mlp"', '[discriminator]\nuse = "patchgn"')),
        (
            10,
            '"patchgn"',
            "there is no discriminator 'patchgn'",
            "",
            "similar: 'patchgan'",
            all_of("discriminator"),
        ),
    ),
    (
        altered(ONE, ("non-saturating", "non-saturated")),
        (
            12,
            '"non-saturated"',
            "there is no loss 'non-saturated'",
            "",
            "similar: 'non-saturating'",
            all_of("loss"),
        ),
    ),
    (
        ONE + "[losses.cycle-consistensy]\n",
        (
            13,
            "[losses.cycle-consistensy]",
            "there is no loss 'cycle-consistensy'",
            "",
            "similar: 'cycle-consistency'",
            all_of("loss"),
        ),
    ),
    (
        altered(ONE, ('"dots"', '"dotz"')),
        (
            3,
            '"dotz"',
            "there is no dataset 'dotz'",
            "",
            "similar: 'dots'",
            all_of("dataset"),
        ),
    ),
    (
        ONE + "[augmentors.flop]\n",
        (
            13,
            "[augmentors.flop]",
            "there is no augmentor 'flop'",
            "",
            "similar: 'flip'",
            all_of("augmentor"),
        ),
    ),
    (
        ONE + "[hooks.tensorbord]\n",
        (
            13,
            "[hooks.tensorbord]",
            "there is no hook 'tensorbord'",
            "",
            "similar: 'tensorboard'",
            all_of("hook"),
        ),
    ),
    (
        ONE + "[metrics.translation-true]\n",
        (
            13,
            "[metrics.translation-true]",
            "there is no metric 'translation-true'",
            "",
            "similar: 'translation-truth', 'caption-truth'",
            all_of("metric"),
        ),
    ),
    (
        in_table(ONE, "[generator]", 'from = "noize"'),
        (
            8,
            '"noize"',
            "there is no domain 'noize'",
            "did you mean 'noise'?",
            "there are: generators.main, image, label, noise",
        ),
    ),
    (
        in_table(ONE, "[generator]", 'from = ["noise", "generators.mian"]'),
        (
            8,
            '"generators.mian"',
            "there is no domain 'generators.mian'",
            "did you mean 'generators.main'?",
            "there are: generators.main, image, label, noise",
        ),
    ),
    (
        in_table(ONE, "[generator]", 'to = "imge"'),
        (
            8,
            '"imge"',
            "there is no domain 'imge'",
            "did you mean 'image'?",
            "there are: image, label, noise",
        ),
    ),
    (
        in_table(ONE, "[discriminator]", 'on = "imge"'),
        (
            10,
            '"imge"',
            "there is no domain 'imge'",
            "did you mean 'image'?",
            "there are: image, label, noise",
        ),
    ),
    (
        in_table(ONE, "[discriminator]", 'given = ["label", "lable"]'),
        (
            10,
            '"lable"',
            "there is no domain 'lable'",
            "did you mean 'label'?",
            "there are: image, label, noise",
        ),
    ),
    (
        ONE + 'on = "mian"\n',
        (
            13,
            '"mian"',
            "there is no discriminator 'mian'",
            "did you mean 'main'?",
            "there are: main",
        ),
    ),
    (
        TWO + '[losses.identity]\non = ["l2d", "d2r"]\n',
        (26, '"d2r"', "there is no generator 'd2r'", "did you mean 'd2l'?", "there are: d2l, l2d"),
    ),
    (
        ONE + '[augmentors.flip]\non = "mian"\n',
        (
            14,
            '"mian"',
            "there is no discriminator 'mian'",
            "did you mean 'main'?",
            "there are: main",
        ),
    ),
    (
        in_table(ONE, "[generator]", 'optimizer = { use = "adamm" }'),
        (
            8,
            '"adamm"',
            "there is no optimizer 'adamm'",
            "did you mean 'adam'?",
            "there are: adam, adamw, rmsprop, sgd",
        ),
    ),
    (
        in_table(ONE, "[generator]", 'schedule = { use = "cosinus" }'),
        (
            8,
            '"cosinus"',
            "there is no schedule 'cosinus'",
            "did you mean 'cosine'?",
            "there are: constant, constant-then-linear, cosine",
        ),
    ),
]


@pytest.mark.parametrize(("text", "expected"), UNKNOWN, ids=lambda v: v[2] if len(v) < 20 else "")
def test_a_name_that_nothing_has_is_told_with_the_nearest(tmp_path, text, expected):
    assert told(tmp_path, text) == [expected]


def test_an_optimizer_of_all_networks_is_told_once(tmp_path):
    text = ONE + '[optimizer]\nuse = "adamm"\n'
    assert told(tmp_path, text) == [
        (
            14,
            '"adamm"',
            "there is no optimizer 'adamm'",
            "did you mean 'adam'?",
            "there are: adam, adamw, rmsprop, sgd",
        )
    ]


def test_a_fallback_that_is_no_dataset_is_told_at_once(tmp_path):
    text = altered(
        ONE, ('use = "dots"', 'use = "mnist"\nroot = "x"\nfetch = "mnist"\nfallback = "painted"')
    )
    line, marked, message, *_ = told(tmp_path, text)[0]
    assert (line, marked, message) == (6, '"painted"', "there is no dataset 'painted'")


# --- what is missing ------------------------------------------------------------------------------

MISSING = [
    (
        altered(ONE, ('[data]\nuse = "dots"\n', "")),
        (
            1,
            "r",
            "the recipe has no data",
            "",
            'write a table `[data]` with `use = "..."`; '
            "`ganforge list dataset` shows what there is",
        ),
    ),
    (
        altered(ONE, ('use = "dots"', "size = 8")),
        (
            2,
            "[data]",
            "[data] does not say which dataset to use",
            "",
            'write `use = "..."`; `ganforge list dataset` shows what there is',
        ),
    ),
    (
        altered(ONE, ('[generator]\nuse = "mlp"\n', "")),
        (
            1,
            "r",
            "the recipe has no generator",
            "",
            'write a table `[generator]` with `use = "..."`',
        ),
    ),
    (
        altered(ONE, ('[generator]\nuse = "mlp"', "[generator]\nema = 0.9")),
        (
            7,
            "[generator]",
            "generator 'main' does not say which component to use",
            "",
            'write `use = "..."`; `ganforge list generator` shows what there is',
        ),
    ),
    (
        altered(ONE, ('[losses.adversarial]\nuse = "non-saturating"\n', "")),
        (
            1,
            "r",
            "the recipe has no losses, so nothing would be learned",
            "",
            'write a table such as `[losses.adversarial]` with `use = "non-saturating"`',
        ),
    ),
    (
        altered(TWO, ('from = "light"\nto = "dark"\n', 'from = "light"\n')),
        (
            7,
            "[generators.l2d]",
            "generator 'l2d' does not say what it makes",
            "",
            "the data has several images: light, dark",
            'write `to = "..."`',
        ),
    ),
    (
        altered(TWO, ('on = "light"\n', "")),
        (
            19,
            "[discriminators.light]",
            "discriminator 'light' does not say which domain it judges",
            "",
            "generators make: dark, light",
            'write `on = "..."`',
        ),
    ),
    (
        altered(ONE, ("steps = 4\n", "")),
        (
            4,
            "[train]",
            "[train] does not say how long",
            "",
            "write `steps = 10_000` or `epochs = 50`",
        ),
    ),
    (
        altered(ONE, ("steps = 4\n", "steps = 4\nepochs = 2\n")),
        (6, "epochs", "[train] takes `steps` or `epochs`, not both", ""),
    ),
    (
        altered(ONE, ('use = "dots"', 'use = "image-folder"')),
        (
            2,
            "[data]",
            "dataset 'image-folder' needs 'root'",
            "add `root = ...`, a path",
            "root: folder of images; a folder `test` in it, else `val`, is held out, beside "
            "`train` or all the rest",
            "or give it on the command line: --set data.root=...",
            "from ganforge 0.1.0; see `ganforge show dataset/image-folder`",
        ),
    ),
]


@pytest.mark.parametrize(("text", "expected"), MISSING, ids=lambda v: v[2] if len(v) < 20 else "")
def test_what_is_missing_is_told_alone(tmp_path, text, expected):
    assert told(tmp_path, text) == [expected]


def test_data_without_images_is_no_target(tmp_path):
    numbers = attrs.evolve(
        registry().find("dataset", "dots"),
        name="numbers",
        describe=lambda options, image: attrs.evolve(
            registry().find("dataset", "dots").describe(options, image),
            domains={"label": LabelSpec(3)},
            aligned=(),
        ),
    )
    text = altered(ONE, ('"dots"', '"numbers"'))
    assert told(tmp_path, text, numbers) == [
        (
            7,
            "[generator]",
            "generator 'main' does not say what it makes",
            "",
            "the data has no image",
            'write `to = "..."`',
        )
    ]


def test_a_dataset_must_describe_itself(tmp_path):
    text = altered(ONE, ('"dots"', '"odd"'))
    assert told(tmp_path, text, made_up("dataset")) == [
        (2, "[data]", "dataset 'tests/odd' does not describe itself", "")
    ]


def test_epochs_need_to_know_how_many_rows_there_are(tmp_path):
    dots = registry().find("dataset", "dots")
    endless = attrs.evolve(
        dots,
        name="endless",
        describe=lambda options, image: attrs.evolve(dots.describe(options, image), counts={}),
    )
    text = altered(ONE, ('"dots"', '"endless"'), ("steps = 4", "epochs = 2"))
    message = "an epoch is not known, since the data does not say how many rows it has"
    assert told(tmp_path, text, endless) == [
        (4, "[train]", message, "", "write `steps` instead of `epochs`")
    ]


# --- the graph ------------------------------------------------------------------------------------


def test_generators_that_feed_each_other_in_a_circle_are_told_alone(tmp_path):
    text = altered(
        TWO,
        ('from = "light"', 'from = "generators.d2l"'),
        ('from = "dark"', 'from = "generators.l2d"'),
    )
    message = "generators feed each other in a circle: l2d, d2l"
    assert told(tmp_path, text) == [(7, "[generators.l2d]", message, "")]


def test_a_generator_may_read_another_that_stands_below_it(tmp_path):
    text = altered(TWO, ('from = "light"', 'from = "generators.d2l"'))
    plan = plan_of(tmp_path, text)
    assert list(plan.generators) == ["l2d", "d2l"]  # as in the file
    assert plan.generators["l2d"].source_specs == (plan.domains["light"].spec,)
    assert plan.trained_in(plan.phases[0]) == set(plan.networks)


def test_a_guard_of_a_domain_that_nobody_makes_is_told(tmp_path):
    text = altered(
        TWO, ('[generators.d2l]\nuse = "resnet-translator"\nfrom = "dark"\nto = "light"\n', "")
    )
    message = "discriminator 'light' judges 'light', which no generator makes"
    assert told(tmp_path, text) == [(17, '"light"', message, "", "generators make: dark")]


def test_a_generator_with_a_problem_makes_no_problems_elsewhere(tmp_path):
    text = TWO + '[losses.identity]\non = "l2d"\n'
    text = altered(text, ('from = "light"', 'from = "lihgt"'))
    assert [message for _, _, message, *_ in told(tmp_path, text)] == ["there is no domain 'lihgt'"]


def test_a_domain_with_a_problem_makes_no_problems_elsewhere(tmp_path):
    text = altered(
        ONE + '[domains.small]\nof = "imgae"\nsize = 4\n',
        ("[discriminator]", 'to = "small"\n[discriminator]\non = "small"'),
    )
    assert [message for _, _, message, *_ in told(tmp_path, text)] == ["there is no domain 'imgae'"]


def test_networks_that_no_loss_trains_are_told(tmp_path):
    note = "add a loss that plays on it, or write `freeze = true`"
    assert told(tmp_path, TWO + 'on = "dark"\n') == [
        (11, "[generators.d2l]", "no loss trains generator 'd2l' in any phase", "", note),
        (
            19,
            "[discriminators.light]",
            "no loss trains discriminator 'light' in any phase",
            "",
            note,
        ),
    ]


def test_a_generator_without_any_discriminator_is_told(tmp_path):
    text = altered(ONE, ('[discriminator]\nuse = "mlp"\n', ""))
    note = "add a loss that plays on it, or write `freeze = true`"
    assert told(tmp_path, text) == [
        (7, "[generator]", "no loss trains generator 'main' in any phase", "", note)
    ]


def test_a_network_that_no_phase_trains_is_told(tmp_path):
    text = in_table(ONE, "batch = 6", "[train.phases.only]", 'train = ["generator"]')
    ((_, marked, message, *_),) = told(tmp_path, text)
    assert marked == "[discriminator]"
    assert message == "no loss trains discriminator 'main' in any phase"


def test_a_frozen_network_needs_no_loss(tmp_path):
    text = TWO + 'on = "dark"\n'
    text = in_table(text, "[generators.d2l]", "freeze = true")
    text = in_table(text, "[discriminators.light]", "freeze = true")
    plan = plan_of(tmp_path, text)
    assert plan.phases[0].train == ("generators.l2d", "discriminators.dark")


def test_keys_of_the_other_side_are_refused(tmp_path):
    text = in_table(ONE, "[generator]", 'on = "image"', 'given = "label"')
    text = in_table(text, "[discriminator]", 'from = "label"', 'to = "image"', "ema = 0.9")
    assert told(tmp_path, text) == [
        (8, "on", "a generator has no 'on'", "did you mean 'to'?"),
        (9, "given", "a generator has no 'given'", "did you mean 'from'?"),
        (12, "from", "a discriminator has no 'from'", "did you mean 'given'?"),
        (13, "to", "a discriminator has no 'to'", "did you mean 'on'?"),
        (14, "ema", "a discriminator has no 'ema'", ""),
    ]


@pytest.mark.parametrize("value", ["3", "[]", '["noise", 3]', "true"])
def test_from_takes_names(tmp_path, value):
    ((line, marked, message, *_),) = told(tmp_path, in_table(ONE, "[generator]", f"from = {value}"))
    assert (line, marked) == (8, value)
    assert message.startswith("'from' takes a name or a list of names, not ")


# --- domains --------------------------------------------------------------------------------------

DOMAINS = [
    (
        'x]\nof = "label"\nsize = 4',
        (14, '"label"', "domain 'x' resizes 'label', which is not an image", ""),
    ),
    (
        'x]\nof = "immage"',
        (
            14,
            '"immage"',
            "there is no domain 'immage'",
            "did you mean 'image'?",
            "there are: image, label, noise",
        ),
    ),
    (
        'x]\nof = "image"\nsise = 4',
        (
            15,
            "sise",
            "domain 'x' has no option 'sise'",
            "did you mean 'size'?",
            "options: size = unset, channels = unset",
            "also: of, view",
        ),
    ),
    (
        'x]\nof = "image"\nchannels = 3',
        (15, "3", "domain 'x' cannot have 3 channels, since 'image' has 1", ""),
    ),
    (
        "x]\ndin = 4",
        (
            14,
            "din",
            "domain 'x' has no option 'din'",
            "did you mean 'dim'?",
            'options: dim = 100, distribution = "normal"',
        ),
    ),
    (
        'image]\nof = "label"',
        (13, "[domains.image]", "there is already a domain 'image': it comes from the data", ""),
    ),
    (
        "noise]\ndim = 4",
        (13, "[domains.noise]", "there is already a domain 'noise': [noise] describes it", ""),
    ),
]


@pytest.mark.parametrize(("lines", "expected"), DOMAINS, ids=lambda v: v[2] if len(v) < 9 else "")
def test_a_domain_that_cannot_be_is_told(tmp_path, lines, expected):
    assert told(tmp_path, f"{ONE}[domains.{lines}\n") == [expected]


def test_only_colour_becomes_grey(tmp_path):
    text = in_table(ONE, "[data]", "channels = 3") + '[domains.x]\nof = "image"\nchannels = 4\n'
    message = "domain 'x' cannot have 4 channels, since 'image' has 3: 1 makes it grey"
    assert told(tmp_path, text) == [(16, "4", message, "")]


def test_derived_and_drawn_domains_have_the_specs_that_are_written(tmp_path):
    text = in_table(ONE, "[data]", "channels = 3") + (
        '[domains.small]\nof = "image"\nsize = [4, 6]\n'
        '[domains.grey]\nof = "small"\nchannels = 1\n'
        '[domains.style]\ndim = 7\ndistribution = "uniform"\n'
        "[noise]\ndim = 9\n"
    )
    domains = plan_of(tmp_path, text).domains
    assert domains["small"].spec == ImageSpec(3, 4, 6)
    assert domains["grey"].spec == ImageSpec(1, 4, 6)
    assert domains["grey"].of == "image"  # rows of the data, whatever lies between
    assert domains["style"].spec == NoiseSpec(7, "uniform")
    assert domains["noise"].spec == NoiseSpec(9, "normal")
    assert [domains[d].origin for d in ("image", "small", "style")] == ["data", "derived", "drawn"]


def test_the_labels_of_a_derived_domain_are_those_of_its_rows(tmp_path):
    text = altered(
        ONE + '[domains.small]\nof = "image"\nsize = 4\n',
        ("non-saturating", "odd"),
        ("[discriminator]", 'to = "small"\n[discriminator]'),
    )
    plan = plan_of(tmp_path, text, needy("fake_scores", discriminator=("real_labels",)))
    assert plan.discriminators["main"].on == "small"


# --- losses ---------------------------------------------------------------------------------------

# (recipe, what the loss plays on, names asked for, what is said after "but")
UNLABELLED = 'generator \'main\' is given no label (`from = ["noise", "label"]`)'
UNCONDITIONED = "discriminator 'main' is given no condition (`given = ...`)"
LACKING = [
    (ONE, "main", "fake_labels fake_scores", UNLABELLED),
    (ONE, "main", "second_labels fake_scores", UNLABELLED),
    (ONE, "main", "real_given fake_scores", UNCONDITIONED),
    (ONE, "main", "mismatched fake_scores", UNCONDITIONED),
    (ONE, "main", "mismatched_scores", UNCONDITIONED),
    (ONE, "main", "real_class_scores", "discriminator 'mlp' offers no class_scores"),
    (ONE, "main", "fake_reconstruction", "discriminator 'mlp' offers no reconstruction"),
    (ONE, "main", "fake_posterior", "generator 'mlp' offers no posterior"),
    (ONE, "main", "fake_log_probs fake_scores", "generator 'mlp' offers no log_probs"),
    (ONE, "main", "cycled", "no generator leads back from 'image' to 'noise'"),
    (ONE, "main", "source", "generator 'main' starts from noise, not from data"),
    (
        ONE,
        "main",
        "same",
        "generator 'main' turns normal noise of 100 into image 1 x 8 x 8: ",
        "only the same shape can stay the same",
    ),
    (TWO, "dark", "real_labels fake_scores", "the rows of 'dark' have no labels"),
    (TWO, "l2d", "second", "generator 'l2d' draws no noise, so it cannot make a second fake"),
]


@pytest.mark.parametrize("case", LACKING, ids=lambda case: case[2])
def test_a_loss_is_told_what_the_game_cannot_give_it(tmp_path, case):
    text, target, asked, *reason = case
    asked = asked.split()
    text += '[losses.extra]\nuse = "odd"\n'
    message = f"loss 'extra' cannot play on '{target}': it asks for '{asked[0]}', but "
    place = (len(text.splitlines()), '"odd"')
    assert told(tmp_path, text, needy(*asked)) == [(*place, message + "".join(reason), "")]


def test_the_cycle_needs_a_way_back(tmp_path):
    start = TWO.index("[generators.d2l]"), TWO.index("[discriminators.light]")
    text = TWO[: start[0]] + TWO[TWO.index("[discriminators.dark]") : start[1]]
    text += '[losses.adversarial]\nuse = "least-squares"\n[losses.cycle-consistency]\n'
    message = "loss 'cycle-consistency' cannot play on 'l2d': it asks for 'cycled', but no "
    message += "generator leads back from 'dark' to 'light'"
    assert told(tmp_path, text) == [(17, "[losses.cycle-consistency]", message, "")]


def test_identity_needs_equal_channels_and_plays_where_they_are(tmp_path):
    text = TWO.replace('to = "dark"', 'to = "grey"').replace('on = "dark"', 'on = "grey"')
    text = in_table(text, "[data]", "channels = 3")
    text = in_table(text, "steps = 4", "[domains.grey]", 'of = "dark"', "channels = 1")
    text += "[losses.identity]\n"
    plan = plan_of(tmp_path, text + "[generators.again]\nlike = 'd2l'\nfrom = 'light'\n")
    assert plan.losses["identity"].on == ("d2l", "again")
    message = "loss 'identity' cannot play on 'l2d': it asks for 'same', but generator 'l2d' turns "
    message += "image 3 x 8 x 8 into image 1 x 8 x 8: only the same shape can stay the same"
    assert told(tmp_path, text + 'on = ["d2l", "l2d"]\n') == [(30, '["d2l", "l2d"]', message, "")]


def test_a_loss_that_asks_for_what_is_not_in_the_vocabulary(tmp_path):
    text = altered(ONE, ("non-saturating", "odd"))
    message = "loss 'tests/odd' asks for 'real_scoers' (discriminator), which is not in the "
    message += "vocabulary"
    assert told(tmp_path, text, needy("fake_scores", discriminator=("real_scoers",))) == [
        (11, "[losses.adversarial]", message, "", "similar: real_scores, real_seen, real")
    ]
    message = "loss 'tests/odd' asks for 'xylophone' (generator), which is not in the vocabulary"
    assert told(tmp_path, text, needy("xylophone")) == [
        (11, "[losses.adversarial]", message, "", "see docs/first-plugin.md")
    ]


def test_a_loss_whose_source_does_not_say_what_it_asks_for(tmp_path):
    text = altered(ONE, ("non-saturating", "odd"))
    message = "loss 'odd' of tests 0: there is no module nowhere; its `Component` may state "
    message += "`needs = ...`"
    assert told(tmp_path, text, made_up("loss")) == [(11, "[losses.adversarial]", message, "")]


ONLY_NUMBERS = (
    "weight of loss 'adversarial' takes a number, or one for each side",
    "",
    "write `weight = 10.0` or `weight = { discriminator = 0.5, generator = 1.0 }`",
)
LOSS_KEYS = [
    *(("weight", value, *ONLY_NUMBERS) for value in ('"x"', "[1, 2]", "inf", "nan", "true")),
    ("weight", '{ generator = "x" }', *ONLY_NUMBERS),
    ("weight", "{ gen = 1.0 }", *ONLY_NUMBERS),
    *(("every", v, "'every' takes a whole number from 1", "") for v in ("0", "1.5", "true", '"x"')),
    *(("start", v, "'start' is a share of the run, from 0 to 1", "") for v in ("-0.1", '"x"')),
    *(("stop", v, "'stop' is a share of the run, from 0 to 1", "") for v in ("2", "nan", "true")),
    (
        "start",
        "1.0",
        "loss 'adversarial' never plays: it stops at 1 of the run and starts at 1",
        "",
    ),
    ("on", "[]", "'on' takes a name or a list of names, not []", ""),
    (
        "smooth",
        "2",
        "loss 'non-saturating': 'smooth' must be at least 0 and below 1, not 2",
        "",
        "smooth: real is labelled 1 minus this (one-sided label smoothing) (default 0.0)",
    ),
]


@pytest.mark.parametrize("case", LOSS_KEYS, ids=lambda case: f"{case[0]}={case[1]}")
def test_a_key_of_a_loss_that_makes_no_sense(tmp_path, case):
    key, value, *rest = case
    assert told(tmp_path, f"{ONE}{key} = {value}\n") == [(13, value, *rest)]


def test_a_loss_that_stops_before_it_starts(tmp_path):
    message = "loss 'adversarial' never plays: it stops at 0.2 of the run and starts at 0.5"
    assert told(tmp_path, ONE + "start = 0.5\nstop = 0.2\n") == [(14, "0.2", message, "")]


def test_weights_are_for_both_sides_or_for_each(tmp_path):
    def weight(line):
        return dict(plan_of(tmp_path, f"{ONE}{line}\n").losses["adversarial"].weight)

    assert weight("") == {"discriminator": 1.0, "generator": 1.0}
    assert weight("weight = 3") == {"discriminator": 3.0, "generator": 3.0}
    assert weight("weight = { generator = 2 }") == {"discriminator": 1.0, "generator": 2.0}


# --- networks -------------------------------------------------------------------------------------

EMA = "'ema' of generator 'main' lies between 0 and 1, as in `ema = 0.999`"
EITHER = "'init' of 'main' takes either `normal` or `run`"
NETWORK_KEYS = [
    *(("ema", value, EMA, "") for value in ("1", "0.0", "1.5", '"x"', "true")),
    *(("init", value, EITHER, "") for value in ("{}", '{ normal = 0.02, run = "x" }')),
    (
        "clip",
        "0",
        "generator 'main': 'clip' must be above 0, not 0",
        "",
        "clip: largest norm of the gradient",
    ),
    (
        "clip",
        '"1"',
        "generator 'main': 'clip' must be a number, not \"1\"",
        "write 1, without quotes",
        "clip: largest norm of the gradient",
    ),
    (
        "freeze",
        "1",
        "generator 'main': 'freeze' must be true or false, not 1",
        "write true",
        "freeze: never trained (default false)",
    ),
    (
        "init",
        "0.02",
        "'generator.init' must be a table, not 0.02",
        "write init = { normal = 0.02 }",
    ),
]


@pytest.mark.parametrize("case", NETWORK_KEYS, ids=lambda case: f"{case[0]}={case[1]}")
def test_a_key_of_a_network_that_makes_no_sense(tmp_path, case):
    key, value, *rest = case
    assert told(tmp_path, in_table(ONE, "[generator]", f"{key} = {value}")) == [(8, value, *rest)]


INSIDE = [
    (
        "init = { norml = 0.02 }",
        "norml",
        "init of 'main' has no option 'norml'",
        "did you mean 'normal'?",
        "options: normal = unset, run = unset",
    ),
    (
        "init = { normal = -1 }",
        "-1",
        "init of 'main': 'normal' must be above 0, not -1",
        "",
        "normal: weights N(0, this), norm weights N(1, this), biases 0",
    ),
    (
        "optimizer = { lr = 0 }",
        "0",
        "optimizer 'adam': 'lr' must be above 0, not 0",
        "",
        "lr: learning rate (default 0.0002)",
    ),
    (
        'optimizer = { use = "sgd", betas = [0, 0] }',
        "betas",
        "optimizer 'sgd' has no option 'betas'",
        "",
        "options: lr = 0.01, momentum = 0.0, weight_decay = 0.0",
        "also: schedule, use",
    ),
    (
        'schedule = { use = "cosine", floor = 2.0 }',
        "2.0",
        "schedule 'cosine': 'floor' must be at least 0 and at most 1, not 2.0",
        "",
        "floor: what is left at the end (default 0.0)",
    ),
]


@pytest.mark.parametrize("case", INSIDE, ids=lambda case: case[0])
def test_a_key_inside_a_table_of_a_network_that_makes_no_sense(tmp_path, case):
    line, *rest = case
    assert told(tmp_path, in_table(ONE, "[generator]", line)) == [(8, *rest)]


def test_the_optimizer_of_a_network_lies_over_that_of_all(tmp_path):
    text = ONE + "[optimizer]\nlr = 1e-3\nbetas = [0.0, 0.9]\nschedule = { use = 'cosine' }\n"
    text = in_table(text, "[generator]", "optimizer.lr = 1e-4")
    text = in_table(text, "[discriminator]", 'optimizer = { use = "sgd" }', "clip = 1")
    plan = plan_of(tmp_path, text)
    generator, discriminator = (plan.networks[a].settings for a in plan.networks)
    if generator.optimizer.use == "sgd":
        generator, discriminator = discriminator, generator
    assert (generator.optimizer.options.lr, generator.optimizer.options.betas) == (1e-4, (0, 0.9))
    assert discriminator.optimizer.use == "sgd" and discriminator.optimizer.options.lr == 1e-2
    assert (generator.clip, discriminator.clip) == (None, 1.0)
    assert {generator.schedule.use, discriminator.schedule.use} == {"cosine"}


def test_the_run_that_weights_are_taken_from_is_relative_to_the_recipe(tmp_path):
    plan = plan_of(tmp_path, in_table(ONE, "[generator]", 'init = { run = "runs/faces" }'))
    init = plan.generators["main"].settings.init
    assert init.run == (tmp_path / "runs" / "faces").resolve().as_posix()


@options
class RefOptions:
    critic: Ref = option(help="the network to mirror")
    second: Ref | None = option(None, help="another one")


MIRROR = made_up("generator", "mirror", RefOptions)


def test_options_that_name_networks_become_addresses(tmp_path):
    lines = 'use = "mirror"\ncritic = "discriminator"\nsecond = "discriminators.main"\n'
    plan = plan_of(
        tmp_path, altered(ONE, ('[generator]\nuse = "mlp"\n', f"[generator]\n{lines}")), MIRROR
    )
    expected = {"critic": "discriminators.main", "second": "discriminators.main"}
    assert plan.generators["main"].settings.refs == expected


def test_options_that_name_no_network_or_several_are_told(tmp_path):
    lines = 'use = "mirror"\ncritic = "discriminators.mian"\nsecond = "main"\n'
    text = altered(ONE, ('[generator]\nuse = "mlp"\n', f"[generator]\n{lines}"))
    assert told(tmp_path, text, MIRROR) == [
        (
            9,
            '"discriminators.mian"',
            "there is no network 'discriminators.mian'",
            "did you mean 'discriminators.main'?",
            "there are: discriminators.main, generators.main",
        ),
        (
            10,
            '"main"',
            "'main' is the name of 2 networks",
            "",
            "write one of: generators.main, discriminators.main",
        ),
    ]


def test_a_required_option_of_a_component_is_told_with_its_provider(tmp_path):
    text = altered(ONE, ('[generator]\nuse = "mlp"', '[generator]\nuse = "mirror"'))
    assert told(tmp_path, text, MIRROR) == [
        (
            7,
            "[generator]",
            "generator 'mirror' needs 'critic'",
            "add `critic = ...`, the name of a network",
            "critic: the network to mirror",
            "from tests 0; see `ganforge show generator/mirror`",
        )
    ]


# --- facts of manifests ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["generator", "discriminator", "loss", "hook", "metric"])
def test_what_a_component_refuses_is_told_at_its_table(tmp_path, kind):
    needs = {"generator": ("fake_scores",), "discriminator": ("real_scores",)}
    odd = made_up(kind, check=refuse, **({"needs": needs} if kind == "loss" else {}))
    if kind in ("generator", "discriminator"):
        text = altered(ONE, (f'[{kind}]\nuse = "mlp"', f'[{kind}]\nuse = "odd"'))
        header = f"[{kind}]"
    else:
        header = f"[{kind + ('es' if kind == 'loss' else 's')}.odd]"
        text = f"{ONE}{header}\n"
    ((_, *rest),) = told(tmp_path, text, odd)
    assert rest == [header, "it cannot be", ""]


def test_a_refusal_that_names_an_option_points_at_it(tmp_path):
    text = in_table(TWO, "[discriminators.dark]", "width = 8")
    text = altered(text, ('on = "dark"\nlayers = 1', 'on = "dark"\nlayers = 3'))
    message = "patchgan with layers = 3 needs sides of at least 24 px, not 8 x 8: take layers = 1, "
    message += "or larger images"
    assert told(tmp_path, text) == [(19, "3", message, "")]


def test_what_a_dataset_refuses_is_told_at_its_option(tmp_path):
    text = altered(ONE, ('use = "dots"', 'use = "painted-horses"\nsize = 4'))
    ((line, marked, message, _),) = told(tmp_path, text)
    assert (line, marked) == (4, "4")
    assert message.startswith("painted-horses needs sides of at least 16 px")


def test_views_of_different_shapes_are_told(tmp_path):
    def halved(options, spec):
        return {"plain": spec, "half": ImageSpec(spec.channels, spec.height // 2, spec.width // 2)}

    message = "discriminator 'main' would see views of different shapes: plain (image 1 x 8 x 8), "
    message += "half (image 1 x 4 x 4)"
    text = ONE + "[augmentors.odd]\n"
    assert told(tmp_path, text, made_up("augmentor", views=halved)) == [
        (9, "[discriminator]", message, "")
    ]


def test_what_an_augmentor_refuses_is_told_at_its_table(tmp_path):
    text = ONE + "[augmentors.odd]\n"
    assert told(tmp_path, text, made_up("augmentor", views=refuse)) == [
        (13, "[augmentors.odd]", "it cannot be", "")
    ]


def test_the_image_pool_is_refused_before_a_discriminator_with_a_condition(tmp_path):
    text = in_table(ONE, "[generator]", 'from = ["noise", "label"]')
    text = in_table(text, "[discriminator]", 'given = "label"') + "[augmentors.image-pool]\n"
    message = "image-pool keeps fakes without their conditions, and a discriminator is given "
    message += "label of 3 classes: leave it out, or put it `on` others"
    assert told(tmp_path, text) == [(15, "[augmentors.image-pool]", message, "")]


# --- how long -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "batch", "updates_per_step", "steps"),
    [
        (1, 6, 1, 8),  # 48 rows
        (2, 6, 1, 16),
        (0.5, 6, 1, 4),
        (3, 7, 1, 18),  # what is left over of 48 / 7 is dropped
        (3, 7, 2, 9),
        (5, 6, 10, 4),
        (0.001, 6, 1, 1),
        (2, 64, 1, 2),  # fewer rows than one batch
    ],
)
def test_epochs_count_what_the_discriminator_has_seen(
    tmp_path, epochs, batch, updates_per_step, steps
):
    text = altered(
        ONE,
        ("steps = 4", f"epochs = {epochs}\ndiscriminator_steps = {updates_per_step}"),
        ("batch = 6", f"batch = {batch}"),
    )
    assert plan_of(tmp_path, text).steps == steps


def test_what_comes_later_takes_the_place_of_epochs_or_steps(tmp_path):
    text = ONE + "[preview]\ntrain.epochs = 0.5\n"
    assert plan_of(tmp_path, text).steps == 4
    assert plan_of(tmp_path, text, preview=True).steps == 4  # half of 48 / 6
    assert plan_of(tmp_path, text, preview=True, sets=["train.steps=3"]).steps == 3
    assert plan_of(tmp_path, text, sets=["train.epochs=2"]).steps == 16


def phased(*lines, steps=10):
    return altered(
        in_table(ONE, "batch = 6", *lines), ("steps = 4\nbatch", f"steps = {steps}\nbatch")
    )


def test_phases_divide_the_run_and_the_last_goes_to_its_end(tmp_path):
    text = phased(
        *("[train.phases.critic]", 'train = ["discriminator"]', "discriminator_steps = 5"),
        *("steps = 2", "[train.phases.both]", 'train = ["generator", "discriminators.main"]'),
        *("share = 0.3", "[train.phases.end]", 'train = ["generator"]', "losses = ['adversarial']"),
    )
    phases = plan_of(tmp_path, text).phases
    assert [(p.name, p.first, p.last) for p in phases] == [
        ("critic", 1, 2),
        ("both", 3, 5),
        ("end", 6, 10),
    ]
    assert [p.discriminator_steps for p in phases] == [5, 1, 1]
    assert phases[1].train == ("generators.main", "discriminators.main")


def test_phases_that_make_no_sense_are_told(tmp_path):
    both = 'train = ["generator", "discriminator"]'
    text = phased(
        *("[train.phases.a]", 'train = ["main", "crtic"]', "steps = 2", "share = 0.2"),
        *("[train.phases.b]", both, 'losses = ["adversarial", "adverserial"]'),
        *("[train.phases.c]", "share = 0.2"),
        *("[train.phases.d]", both, "steps = 10"),
        *("[train.phases.e]", both),
    )
    there = "there are: discriminators.main, generators.main"
    assert told(tmp_path, text) == [
        (7, "[train.phases.a]", "phase 'a' takes `steps` or `share`, not both", ""),
        (
            8,
            '"main"',
            "'main' is the name of 2 networks",
            "",
            "write one of: generators.main, discriminators.main",
        ),
        (8, '"crtic"', "there is no network 'crtic'", "", there),
        (
            11,
            "[train.phases.b]",
            "phase 'b' does not say how long it is",
            "",
            "write `steps = 1_000` or `share = 0.5`; only the last phase may leave it out",
        ),
        (
            13,
            '"adverserial"',
            "there is no loss 'adverserial'",
            "did you mean 'adversarial'?",
            "there are: adversarial",
        ),
        (
            14,
            "[train.phases.c]",
            "phase 'c' needs 'train'",
            "add `train = ...`, a list of texts",
            "train: networks that this phase trains; the others are frozen",
        ),
        (
            19,
            "[train.phases.e]",
            "phase 'e' is never played: those before it take all of the run's 10 steps",
            "",
        ),
    ]


# --- what is assumed ------------------------------------------------------------------------------


def test_what_is_not_written_is_the_only_thing_it_can_be(tmp_path):
    plan = plan_of(tmp_path, ONE + "[augmentors.flip]\n")
    generator, discriminator = plan.generators["main"], plan.discriminators["main"]
    assert (generator.sources, generator.target) == (("noise",), "image")
    assert (generator.source_specs, generator.target_spec) == (
        (NoiseSpec(100, "normal"),),
        ImageSpec(1, 8, 8),
    )
    assert (discriminator.on, discriminator.given) == ("image", ())
    assert plan.losses["adversarial"].on == ("main",)
    assert plan.augmentors["flip"].on == ("main",)
    assert plan.pairings("main") == ("main",)
    assert plan.name == "recipe"  # as the file


def test_a_loss_of_contests_plays_on_every_guard_and_one_of_generators_on_all(tmp_path):
    plan = plan_of(tmp_path, CYCLE)
    assert plan.losses["adversarial"].on == ("light", "dark")
    assert plan.losses["cycle-consistency"].on == ("l2d", "d2l")
    assert (plan.inverse("l2d"), plan.inverse("d2l")) == ("d2l", "l2d")


def test_like_copies_the_settings_but_not_the_place(tmp_path):
    text = altered(
        CYCLE, ('from = "light"\nto = "dark"\nwidth = 4', 'from = "light"\nto = "dark"\nwidth = 5')
    )
    plan = plan_of(tmp_path, text)
    one, other = plan.generators["l2d"], plan.generators["d2l"]
    assert other.component == one.component and other.options == one.options
    assert other.options.width == 5
    assert (other.sources, other.target) == (("dark",), "light")


def test_five_hooks_are_on_without_a_table_and_can_be_turned_off(tmp_path):
    assert set(plan_of(tmp_path, ONE).hooks) == {
        *("progress", "metrics", "checkpoint", "samples", "collapse-alarm")
    }
    text = ONE + "[hooks]\nsamples.every = 7\nprogress.off = true\n"
    hooks = plan_of(tmp_path, text).hooks
    assert set(hooks) == {"metrics", "checkpoint", "samples", "collapse-alarm"}
    assert hooks["samples"].options.every == 7
    assert not plan_of(tmp_path, ONE_PAIR).hooks
    sets = ["hooks.checkpoint.every=5"]
    assert plan_of(tmp_path, ONE, sets=sets).hooks["checkpoint"].options.every == 5


# --- all at once ----------------------------------------------------------------------------------


def test_all_problems_are_told_at_once_in_the_order_of_the_file(tmp_path):
    text = """\
    recipe = 1
    [data]
    use = "dots"
    pare = true
    [train]
    steps = 0
    [noise]
    dim = "x"
    [generator]
    use = "mpl"
    [discriminator]
    use = "mlp"
    ema = 0.5
    [losses.adversarial]
    use = "hinj"
    [augmentors.flip]
    p = 2
    [hooks.sampels]
    """
    assert [line for line, *_ in told(tmp_path, text)] == [4, 6, 8, 10, 13, 15, 17, 18]


def test_mistakes_in_train_and_noise_hide_no_others(tmp_path):
    text = altered(ONE, ("steps = 4", "steps = 0")) + "weight = 'x'\n[noise]\ndim = 0\n"
    text = in_table(text, "[discriminator]", "ema = 0.5")
    assert [line for line, *_ in told(tmp_path, text)] == [5, 10, 14, 16]


def test_a_plan_looked_at_elsewhere_needs_no_data_and_no_leave(tmp_path):
    """Where only the run folder is left: the lock says what the data yields."""
    lock = """
    [lock.data.domains.image]
    kind = "image"
    channels = 3
    height = 16
    width = 16
    """
    text = altered(ONE, ('use = "dots"', 'use = "image-folder"\nroot = "gone"'))
    file = recipe_file(tmp_path, text + lock.replace("    ", ""))
    with pytest.raises(RecipeError, match="gone"):
        compose(load(file), registry())
    plan = compose(load(file), registry(), offline=True)
    assert plan.domains["image"].spec == ImageSpec(3, 16, 16)


# --- data of which few rows have labels -----------------------------------------------------------

FEW = altered(ONE, ('use = "dots"\n', 'use = "dots"\nlabelled = 5\n'))
APART = "the rows of 'image' have no labels: a loss of labelled rows asks for labelled_labels"
HALF_GIVEN = "the labelled rows of 'image' have no condition (`given = ...`)"


@pytest.mark.parametrize(
    ("text", "on", "asked", "reason"),
    [
        (FEW, "main", "real_labels", APART),
        (
            in_table(FEW, "[discriminator]", 'given = "label"'),
            "main",
            "labelled_scores",
            HALF_GIVEN,
        ),
        (TWO, "dark", "labelled_scores", "no rows of 'dark' have labels"),
        (FEW, "main", "labelled_class_scores", "discriminator 'mlp' offers no class_scores"),
    ],
)
def test_a_loss_is_told_what_labelled_rows_cannot_give_it(tmp_path, text, on, asked, reason):
    text = altered(
        text, ("[losses.adversarial]", '[losses.extra]\nuse = "odd"\n[losses.adversarial]')
    )
    loss = needy("fake_scores", discriminator=(asked,))
    (problem,) = told(tmp_path, text, loss)
    assert problem[2] == f"loss 'extra' cannot play on '{on}': it asks for '{asked}', but {reason}"


def test_labelled_rows_are_no_second_target_and_are_fed_where_a_loss_reads_them(tmp_path):
    text = FEW + '[losses.extra]\nuse = "odd"\n'
    plan = plan_of(tmp_path, text, needy(discriminator=("labelled_scores", "labelled_labels")))
    assert plan.generators["main"].target == "image" == plan.discriminators["main"].on
    assert plan.discriminators["main"].labels == LabelSpec(3)
    assert plan.labelled("main") == "labelled-image"
    assert plan.played_domains() == {"image", "labelled-image", "label"}
    assert plan_of(tmp_path, FEW).played_domains() == {"image"}
    assert plan_of(tmp_path, ONE).labelled("main") is None


def test_the_labels_beside_a_derived_domain_are_those_of_its_labelled_rows(tmp_path):
    text = altered(FEW, ("[discriminator]", 'to = "small"\n[discriminator]'))
    text += '[domains.small]\nof = "image"\nsize = 4\n[losses.extra]\nuse = "odd"\n'
    plan = plan_of(tmp_path, text, needy(discriminator=("labelled_scores", "labelled_labels")))
    assert plan.labelled("main") == "labelled-image"
    assert plan.discriminators["main"].labels == LabelSpec(3)


def test_a_discriminators_check_is_told_the_labels_where_it_asks(tmp_path):
    seen = []

    def check(options, judged, given, labels):
        seen.append(labels)

    plain = made_up("discriminator", check=check, offers=("class_scores",))
    text = altered(ONE, ('[discriminator]\nuse = "mlp"', '[discriminator]\nuse = "odd"'))
    plan_of(tmp_path, text, plain)
    plan_of(tmp_path, altered(text, ('"dots"\n', '"dots"\nlabelled = 5\n')), plain)
    two = TWO.replace('use = "patchgan"', 'use = "odd"').replace("layers = 1\n", "")
    plan_of(tmp_path, two, plain)
    assert seen == [LabelSpec(3), LabelSpec(3), None, None]


@options
class MoodOptions:
    moody: bool = option(False, help="reads what no dataset here has")


def test_what_a_loss_needs_may_follow_from_its_options(tmp_path):
    mood = made_up(
        "loss",
        options_class=MoodOptions,
        needs=lambda options: {"generator": ("fake_labels" if options.moody else "fake_scores",)},
    )
    text = ONE + '[losses.extra]\nuse = "odd"\n'
    plan = plan_of(tmp_path, text, mood)
    assert plan.losses["extra"].needs == {"generator": ("fake_scores",)}
    (problem,) = told(tmp_path, text + "moody = true\n", mood)
    assert problem[2].endswith(f"it asks for 'fake_labels', but {UNLABELLED}")


# --- what a run would only meet later -------------------------------------------------------------


def test_a_phase_may_have_any_name_and_must_train_something(tmp_path):
    lines = ("[train.phases.all]", 'train = ["generator", "discriminator"]', "losses = []")
    told_of = told(tmp_path, in_table(ONE, "batch = 6", *lines))
    message = "phase 'all' trains nothing: none of its losses plays on a network that it trains"
    assert (7, "[train.phases.all]", message, "") in told_of


def test_a_run_that_weights_are_taken_from_must_be_there_where_a_run_starts(tmp_path):
    text = in_table(ONE, "[generator]", 'init = { run = "runs/gone" }')
    recipe = load(recipe_file(tmp_path, text))
    with pytest.raises(RecipeError) as caught:
        compose(recipe, registry(), starts=True)
    (problem,) = caught.value.problems
    gone = tmp_path / "runs" / "gone"
    assert problem.message == (
        f"`init` of generators.main: {gone.as_posix()} is not a run with a checkpoint"
    )
    assert problem.span.line == 8
    compose(recipe, registry())  # a run that goes on has its weights already


def test_a_run_that_weights_are_taken_from_must_have_the_network(tmp_path):
    checkpoint = tmp_path / "runs" / "other" / "checkpoints" / "step-00000004"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.json").write_text("{}", encoding="utf-8")
    resolved = tmp_path / "runs" / "other" / "resolved.toml"
    resolved.write_text("[generators.horse]\n[discriminators.horse]\n", encoding="utf-8")
    text = in_table(ONE, "[discriminator]", 'init = { run = "runs/other" }')
    with pytest.raises(RecipeError, match=r"has no network discriminators\.main; there are: gen"):
        compose(load(recipe_file(tmp_path, text)), registry(), starts=True)
    resolved.write_text("[discriminators.main]\n", encoding="utf-8")
    compose(load(recipe_file(tmp_path, text)), registry(), starts=True)


@attrs.frozen
class Points(ImageSpec):
    """A third party's own kind of data."""


def describing(result):
    """A dataset of the dots' options that describes itself by this."""
    dots = registry().find("dataset", "dots")
    own = {"name": "own", "provider": "acme", "version": "2"}
    if callable(result):
        return attrs.evolve(dots, describe=result, **own)
    return attrs.evolve(dots, describe=lambda options, image: result, **own)


def test_a_kind_of_data_that_nothing_can_open_again_is_refused(tmp_path):
    text = altered(ONE, ('"dots"', '"own"'))
    own = describing(DataDescription(domains={"image": Points(1, 8, 8)}))
    ((_, marked, message, _, note),) = told(tmp_path, text, own)
    assert marked == "[data]"
    assert message == (
        "`describe` of dataset 'own' returned Points for domain 'image'; the kinds of data are: "
        "ImageSpec, NoiseSpec, LabelSpec, AttributeSpec, TextSpec, VectorSpec"
    )
    assert note == "this is a mistake in acme 2"


def raising(*_, **__):
    return {}["none"]


RESULTS = [
    (raising, "raised KeyError: 'none' (tests/test_compose.py:"),
    (lambda: None, "raised TypeError: "),
    (None, "returned None, not a DataDescription"),
    (DataDescription(domains={"noise": ImageSpec(1, 8, 8)}), "returned a domain 'noise'"),
    (
        DataDescription(domains={"image": ImageSpec(1, 8, 8)}, aligned=(("image", "lbl"),)),
        "returned 'lbl' in `aligned`, but no domain of that name",
    ),
]


@pytest.mark.parametrize(("result", "what"), RESULTS, ids=lambda v: v if isinstance(v, str) else "")
def test_what_a_datasets_describe_must_not_do_is_told_as_its_plugins(tmp_path, result, what):
    text = altered(ONE, ('"dots"', '"own"'))
    ((_, marked, message, _, note),) = told(tmp_path, text, describing(result))
    assert (marked, note) == ("[data]", "this is a mistake in acme 2")
    assert message.startswith(f"`describe` of dataset 'own' {what}")


@pytest.mark.parametrize("kind", ["generator", "discriminator", "loss", "hook", "metric"])
def test_what_the_check_of_a_plugin_raises_is_told_as_its_plugins(tmp_path, kind):
    needs = {"generator": ("fake_scores",), "discriminator": ("real_scores",)}
    odd = made_up(kind, check=raising, **({"needs": needs} if kind == "loss" else {}))
    text = f"{ONE}[{kind + ('es' if kind == 'loss' else 's')}.odd]\n"
    if kind in ("generator", "discriminator"):
        text = altered(ONE, (f'[{kind}]\nuse = "mlp"', f'[{kind}]\nuse = "odd"'))
    ((_, _, message, _, note),) = told(tmp_path, text, odd)
    assert message.startswith(f"`check` of {kind} 'odd' raised KeyError: 'none' (tests/test_com")
    assert note == "this is a mistake in tests 0"


@pytest.mark.parametrize(
    ("views", "what"),
    [(raising, "raised KeyError"), (lambda *_: None, "returned None"), (lambda *_: {}, "returned")],
)
def test_what_the_views_of_a_plugin_must_not_be_is_told_as_its_plugins(tmp_path, views, what):
    text = ONE + "[augmentors.odd]\n"
    ((_, marked, message, *_),) = told(tmp_path, text, made_up("augmentor", views=views))
    assert marked == "[augmentors.odd]"
    assert message.startswith(f"`views` of augmentor 'odd' {what}")


@pytest.mark.parametrize("offers", [raising, lambda _: 3])
def test_what_a_network_must_not_offer_is_told_as_its_plugins(tmp_path, offers):
    text = altered(ONE, ('[discriminator]\nuse = "mlp"', '[discriminator]\nuse = "odd"'))
    ((_, marked, message, *_),) = told(tmp_path, text, made_up("discriminator", offers=offers))
    assert marked == "[discriminator]"
    assert message.startswith("`offers` of discriminator 'odd' r")


@pytest.mark.parametrize("needs", [raising, lambda _: 3, lambda _: {"generator": (3,)}])
def test_what_a_loss_must_not_need_is_told_as_its_plugins(tmp_path, needs):
    text = ONE + "[losses.odd]\n"
    ((_, marked, message, *_),) = told(tmp_path, text, made_up("loss", needs=needs))
    assert marked == "[losses.odd]"
    assert message.startswith("`needs` of loss 'odd' r")


@pytest.mark.parametrize(("of", "what"), [("b", "'b', which is defined below it"), ("a", "itself")])
def test_a_domain_is_made_of_one_that_stands_above_it(tmp_path, of, what):
    text = f'{ONE}[domains.a]\nof = "{of}"\n[domains.b]\nof = "image"\n'
    note = "a domain is made of one of the data's, or of one that is defined above it"
    assert told(tmp_path, text) == [(14, f'"{of}"', f"domain 'a' is made of {what}", "", note)]
