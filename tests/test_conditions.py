"""Text, conditions that are made, wrong conditions, paired rows, and views as domains."""

from __future__ import annotations

import pytest
import torch
from playing import QUIET, plan_of, registry, training_of
from recipe_text import RecipeText
from torch import Tensor, nn
from torch.nn import functional as F

from ganforge import (
    Dataset,
    Discriminator,
    DiscriminatorOutput,
    GanforgeError,
    Generator,
    GeneratorOutput,
    Loss,
    TextSpec,
    as_one_hot,
)
from ganforge.game.derived_domains import resized
from ganforge.planning.resolved_recipe import resolved_tables, to_toml
from ganforge.plugin import (
    Component,
    DataDescription,
    ImageSpec,
    LabelSpec,
    VectorSpec,
    option,
    options,
)
from ganforge.recipes.problems import RecipeError
from ganforge.runs.run import Run

WORDS = TextSpec(("", "left", "right", "dot"), 3)
CHARACTERS = TextSpec(("", *"0123456789:"), 5, "character")


# ---------------------------------------------------------------- a dataset with captions


@options
class TalesOptions:
    told_wrong: bool = option(True, help="whether wrong captions come with the data")


def describe_tales(options, image):
    domains = {"image": ImageSpec(1, 8, 8), "caption": WORDS}
    if options.told_wrong:
        domains["wrong-caption"] = WORDS
    domains["label"] = LabelSpec(2)
    return DataDescription(
        domains=domains,
        aligned=(tuple(domains),),
        counts={"train": dict.fromkeys(domains, 16), "test": dict.fromkeys(domains, 4)},
        mismatched={"caption": "wrong-caption"} if options.told_wrong else {},
    )


class Tales(Dataset):
    """Row i shows a dot on the left where i is even; its caption says so."""

    def count(self, split, domain):
        return self.description.counts[split][domain]

    def item(self, split, domain, index):
        side = index % 2
        if domain == "label":
            return torch.tensor(side)
        if domain == "image":
            image = torch.zeros(1, 8, 8, dtype=torch.uint8)
            image[:, index % 8, 6 * side] = 255
            return image
        told = 1 - side if domain == "wrong-caption" else side
        return torch.tensor(WORDS.encode(f"dot {('left', 'right')[told]}"))


class Encoder(Generator):
    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        self.body = nn.Linear(sum(spec.flat for spec in sources), target.flat)

    def forward(self, *sources: Tensor) -> Tensor:
        return self.body(self.join(sources))


class Painter(Encoder):
    def forward(self, *sources: Tensor) -> Tensor:
        return torch.tanh(super().forward(*sources)).view(-1, *self.target.shape)


class Writer(Encoder):
    """Chooses each word of its own accord."""

    draws_itself = True

    def forward(self, *sources: Tensor, forced: Tensor | None = None) -> GeneratorOutput:
        logits = super().forward(*sources).view(-1, *self.target.played)
        if forced is None:
            chosen = F.gumbel_softmax(logits, hard=True)
        else:
            chosen = as_one_hot(forced, self.target)
        return GeneratorOutput(chosen, log_probs=(logits.log_softmax(2) * chosen).sum(2))


class Judge(Discriminator):
    def __init__(self, options, judged, given=()):
        super().__init__(options, judged, given)
        self.body = nn.Linear(sum(spec.flat for spec in (judged, *given)), 1)

    def forward(self, data, given=None):
        parts = [as_one_hot(x, s) for x, s in zip((data, *(given or ())), self.specs, strict=True)]
        return DiscriminatorOutput(
            scores=self.body(torch.cat([x.flatten(1) for x in parts], 1))[:, 0]
        )

    @property
    def specs(self):
        return (self.judged, *self.given)


class Matching(Loss):
    def discriminator(self, real_scores, fake_scores, mismatched_scores):
        return (
            F.softplus(-real_scores)
            + F.softplus(fake_scores) / 2
            + F.softplus(mismatched_scores) / 2
        )

    def generator(self, fake_scores):
        return F.softplus(-fake_scores)


class Likelihood(Loss):
    def generator(self, real_log_probs):
        return -real_log_probs


class Pairs(Loss):
    def generator(self, made, truth):
        return (made - truth).abs()


def component(kind, name, cls, **facts):
    return Component(kind, name, f"test_conditions:{cls}", provider="tests", version="0", **facts)


COMPONENTS = (
    Component(
        *("dataset", "tales", "test_conditions:Tales", TalesOptions),
        describe=describe_tales,
        provider="tests",
        version="0",
    ),
    component("generator", "encoder", "Encoder"),
    component("generator", "painter", "Painter"),
    component("generator", "writer", "Writer", offers=("log_probs",)),
    component("discriminator", "asking", "Judge"),
    component("loss", "matching", "Matching"),
    component("loss", "likelihood", "Likelihood"),
    component("loss", "pairs", "Pairs"),
)

PAINTING = (
    RecipeText("""
    recipe = 1
    name = "tales"
    [data]
    use = "tales"
    [train]
    steps = 4
    batch = 4
    precision = "fp32"
    [noise]
    dim = 2
    [domains.embedding]
    vector = 3
    [generators.text]
    use = "encoder"
    from = "caption"
    to = "embedding"
    [generators.image]
    use = "painter"
    from = ["noise", "generators.text"]
    to = "image"
    [discriminator]
    use = "asking"
    on = "image"
    given = "embedding"
    [losses.adversarial]
    use = "matching"
    """)
    + QUIET
)


def looked_at(training):
    """The run as it is opened from its folder."""
    text = to_toml(resolved_tables(training.plan), "a run")
    training.folder.resolved.write_text(text, encoding="utf-8")
    return Run(training.folder, registry=registry(*COMPONENTS))


def trained(tmp_path, text=PAINTING, sets=()):
    return training_of(tmp_path, text, *COMPONENTS, sets=sets)


# ---------------------------------------------------------------- text


def test_a_text_becomes_token_numbers_and_back():
    assert WORDS.encode(" Dot  LEFT ") == [3, 1, 0]
    assert WORDS.decode([3, 1, 0]) == "dot left"
    assert WORDS.decode([3, 0, 1]) == "dot"
    assert CHARACTERS.encode("16:45") == [2, 7, 11, 5, 6]
    assert CHARACTERS.decode([2, 7, 11, 5, 6]) == "16:45"


@pytest.mark.parametrize(
    "text, told",
    [
        ("dot up dot down", "unknown words in 'dot up dot down': up, down; known are: dot, left"),
        ("dot up", "unknown word in 'dot up': up;"),
        ("dot dot dot dot", "'dot dot dot dot' has 4 words; from 1 to 3 are allowed"),
        ("", "'' has 0 words; from 1 to 3 are allowed"),
    ],
)
def test_a_text_that_cannot_be_told_is_refused(text, told):
    with pytest.raises(GanforgeError, match=told.replace("(", r"\(")):
        WORDS.encode(text)


def test_a_text_that_must_have_its_length_is_refused_with_less():
    times = TextSpec(CHARACTERS.vocabulary, 5, "character", shortest=5)
    assert times.encode("16:45") == CHARACTERS.encode("16:45")
    with pytest.raises(GanforgeError, match=r"^'7:30' has 4 characters; 5 are needed$"):
        times.encode("7:30")


def test_numbers_become_one_hot_and_what_is_one_hot_stays():
    tokens = torch.tensor([[3, 1, 0]])
    hot = as_one_hot(tokens, WORDS)
    assert hot.shape == (1, *WORDS.played) and hot.argmax(2).tolist() == tokens.tolist()
    assert as_one_hot(hot, WORDS) is hot
    assert as_one_hot(torch.tensor([1]), LabelSpec(2)).tolist() == [[0.0, 1.0]]


# ---------------------------------------------------------------- encoders


def moved(training):
    """The networks whose weights one step changes."""
    networks = training.game.networks
    before = {address: weights_of(network) for address, network in networks.items()}
    training.take_step(training.step + 1)
    return {a for a, network in networks.items() if not torch.equal(before[a], weights_of(network))}


def weights_of(network):
    return nn.utils.parameters_to_vector(network.parameters()).detach().clone()


def test_an_encoder_of_conditions_learns_with_the_discriminators_alone(tmp_path):
    training = trained(tmp_path)
    plan = training.plan
    assert plan.generators["text"].side == "discriminator"
    assert plan.generators["image"].side == "generator"
    assert plan.encoders("main") == ("text",)
    stepped = {"discriminator": set(), "generator": set()}
    for trained_module in training.game.trained_modules:

        def note(optimizer, args, kwargs, address=trained_module.address):
            stepped[training.game._open].add(address)

        trained_module.optimizer.register_step_post_hook(note)
    assert moved(training) == {"generators.text", "generators.image", "discriminators.main"}
    assert stepped == {
        "discriminator": {"generators.text", "discriminators.main"},
        "generator": {"generators.image"},
    }


def test_the_gradient_of_an_encoder_is_that_of_the_matching_loss(tmp_path):
    training = trained(tmp_path)
    game = training.game
    seen = {}

    class Spy:
        def before_update(self, training, step, side):
            if side == "discriminator":
                weight = game.networks["generators.text"].body.weight
                seen["gradient"] = weight.grad.clone()

    text, judge = game.networks["generators.text"], game.networks["discriminators.main"]
    batch = game.feed.batch(0)
    right, wrong = (text(batch[name]) for name in ("caption", "wrong-caption"))
    noise = game.draws.generator("noise", "noise", 0).standard_normal((4, 2), dtype="float32")
    fake = game.networks["generators.image"](torch.from_numpy(noise), right.detach()).detach()
    real = judge(batch["image"], (right,)).scores
    loss = Matching(None).discriminator(
        real, judge(fake, (right,)).scores, judge(batch["image"], (wrong,)).scores
    )
    (expected,) = torch.autograd.grad(loss.mean(), [text.body.weight])
    training._hooks.register(Spy())
    training.take_step(1)
    assert torch.allclose(seen["gradient"], expected, atol=1e-6)


def test_without_wrong_captions_those_of_other_rows_are_taken(tmp_path):
    training = trained(tmp_path, sets=["data.told_wrong=false"])
    training.game.enter(training.plan.phases[0])
    from ganforge.game.batch import Batch
    from ganforge.game.turn import Turn

    batch = Batch(training.game, 0, slice(0, 4), graph=False)
    assert torch.equal(batch.mismatched("caption"), batch["caption"].roll(1, 0))
    turn = Turn(batch, "discriminator", 1, {"mismatched_scores"})
    given = turn.input_of("main", "mismatched", "image").given[0]
    text = training.game.networks["generators.text"]
    assert torch.allclose(given, text(batch["caption"].roll(1, 0)))


def test_an_encoder_that_a_phase_does_not_train_stays(tmp_path):
    phases = """
    [train.phases.first]
    train = ["generators.image", "discriminators.main"]
    losses = ["adversarial"]
    share = 0.5
    [train.phases.second]
    train = ["generators.text", "discriminators.main"]
    losses = ["adversarial"]
    """
    training = trained(tmp_path, PAINTING + phases)
    assert moved(training) == {"generators.image", "discriminators.main"}
    training.take_step(2)
    assert moved(training) == {"generators.text", "discriminators.main"}


def test_an_interrupted_game_with_an_encoder_goes_on_bit_for_bit(tmp_path):
    from ganforge.storage import checkpoint

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = trained(tmp_path / "a")
    whole.run()
    half = trained(tmp_path / "b")
    half.take_step(1)
    half.take_step(2)
    half.save()
    again = trained(tmp_path / "b")
    again.resume(checkpoint.load(again.folder.checkpoints, 2))
    again.run()
    expected, found = whole.game.state(), again.game.state()
    for part in expected:
        assert all(torch.equal(v, found[part][k]) for k, v in expected[part].items())


# ---------------------------------------------------------------- sampling


def test_samples_follow_the_text_or_the_held_out_ones_by_turns(tmp_path):
    training = trained(tmp_path)
    training.run()
    run = looked_at(training)
    four = run.sample(4, seed=3)
    assert torch.allclose(four[1:2], run.sample(1, seed=4), atol=1e-6)
    # Row 4 is row 0 again, of the same caption; its noise is another.
    told = run.sample(2, text="dot left", seed=4)
    by_turns = run.sample(2, seed=4)
    assert torch.equal(told[0], by_turns[0]) and not torch.equal(told[1], by_turns[1])
    with pytest.raises(GanforgeError, match="unknown word in 'dot above': above"):
        run.sample(1, text="dot above")


WRITING = (
    RecipeText("""
    recipe = 1
    name = "writing"
    [data]
    use = "tales"
    [train]
    steps = 3
    batch = 4
    precision = "fp32"
    [generator]
    use = "writer"
    from = ["label", "image"]
    to = "caption"
    [discriminator]
    use = "asking"
    given = "image"
    [losses.adversarial]
    use = "non-saturating"
    [losses.likelihood]
    """)
    + QUIET
)


def test_text_is_judged_one_hot_and_forced_along_its_row(tmp_path):
    training = trained(tmp_path, WRITING)
    game = training.game
    game.enter(training.plan.phases[0])
    from ganforge.game.batch import Batch
    from ganforge.game.turn import Turn

    game.open_side("generator")
    batch = Batch(game, 0, slice(0, 4), graph=True)
    turn = Turn(batch, "generator", 1, {"fake_scores", "real_log_probs"})
    assert (
        turn.input_of("main", "real", "").data.tolist()
        == as_one_hot(batch["caption"], WORDS).tolist()
    )
    network = game.networks["generators.main"]
    logits = Encoder.forward(network, batch["label"], batch["image"]).view(4, *WORDS.played)
    expected = logits.log_softmax(2).gather(2, batch["caption"][:, :, None])[:, :, 0]
    assert torch.allclose(turn.translation("main").real_log_probs, expected)
    assert moved(training) == {"generators.main", "discriminators.main"}


def test_what_draws_by_itself_is_asked_one_by_one(tmp_path):
    text = WRITING.replace('from = ["label", "image"]', 'from = ["label", "noise"]')
    text = text.replace('given = "image"', "")
    training = trained(tmp_path, text.replace("[losses.likelihood]", ""))
    training.run()
    run = looked_at(training)
    run.sample(1)
    state = torch.get_rng_state()
    many = run.sample(12, seed=5)
    assert torch.equal(state, torch.get_rng_state())
    assert many.shape == (12, 3) and many.dtype == torch.int64
    assert torch.equal(many[7:9], run.sample(2, seed=12))
    assert run.write(2, seed=12) == [WORDS.decode(row) for row in many[7:9].tolist()]


# ---------------------------------------------------------------- views as domains, and pairs

PAIRED = (
    RecipeText("""
    recipe = 1
    name = "paired"
    [data]
    use = "tales"
    [train]
    steps = 2
    batch = 4
    precision = "fp32"
    [domains.edges]
    of = "image"
    size = 6
    view = { use = "gradient-image", mode = "only" }
    [generator]
    use = "painter"
    from = "edges"
    to = "image"
    [discriminator]
    use = "asking"
    given = "edges"
    [losses.adversarial]
    use = "non-saturating"
    [losses.pairs]
    """)
    + QUIET
)


def test_a_view_is_a_domain_whose_rows_are_paired_with_the_images(tmp_path):
    from ganforge_gradient_image.gradient_image import finite_differences

    from ganforge.game.batch import Batch
    from ganforge.game.derived_domains import resized
    from ganforge.game.turn import Turn

    training = trained(tmp_path, PAIRED)
    game = training.game
    game.enter(training.plan.phases[0])
    batch = Batch(game, 0, slice(0, 4), graph=True)
    expected = finite_differences(resized(batch["image"], (1, 6, 6)))
    assert torch.allclose(batch["edges"], expected)
    translation = Turn(batch, "generator", 1, set()).translation("main")
    assert torch.equal(translation.truth, batch["image"])
    assert torch.equal(translation.source, batch["edges"])
    training.run()
    run = looked_at(training)
    held = run.held_out("edges", 3)
    expected = finite_differences(resized(run.held_out("image", 3), (1, 6, 6)))
    assert held.shape == (3, 1, 6, 6) and torch.allclose(held, expected)


def test_an_epoch_of_views_is_that_of_the_images_they_are_made_from(tmp_path):
    text = PAIRED.replace("steps = 2", "epochs = 3").replace('from = "edges"', 'from = "image"')
    text = text.replace('to = "image"', 'to = "edges"').replace('given = "edges"', "")
    assert plan_of(tmp_path, text, *COMPONENTS).steps == 3 * 16 // 4


# ---------------------------------------------------------------- refused


def told(tmp_path, text):
    with pytest.raises(RecipeError) as raised:
        plan_of(tmp_path, text, *COMPONENTS)
    return [problem.message for problem in raised.value.problems]


@pytest.mark.parametrize(
    "text, message",
    [
        (
            PAINTING.replace('from = ["noise", "generators.text"]', 'from = "embedding"'),
            "the data has no 'embedding', which generators make",
        ),
        (
            PAINTING.replace('to = "embedding"', 'to = "caption"'),
            "discriminator 'main' is given 'embedding', which no generator makes",
        ),
        (
            PAINTING.replace('on = "image"', 'on = "embedding"').replace("given", "# given"),
            "discriminator 'main' judges 'embedding', of which the data has no rows",
        ),
        (
            PAIRED.replace('from = "edges"', 'from = "noise"'),
            "loss 'pairs' cannot play on 'main': it asks for 'truth', but generator 'main' reads "
            "no data, so there is no true result to compare with",
        ),
        (
            PAIRED.replace(', mode = "only"', ""),
            "'gradient-image' with these options makes 2 views: plain, gradient; a domain is one",
        ),
        (
            PAIRED.replace('{ use = "gradient-image", mode = "only" }', '"gradient-image"'),
            "'view' of domain 'edges' takes a table",
        ),
        (
            PAINTING
            + """
    [train.phases.idle]
    train = ["generators.image"]
    losses = []
    share = 0.5
    [train.phases.rest]
    train = ["generators.image", "generators.text", "discriminators.main"]
    """,
            "phase 'idle' trains nothing: none of its losses plays on a network that it trains",
        ),
    ],
)
def test_what_cannot_be_played_is_told(tmp_path, text, message):
    assert message in told(tmp_path, text)


def test_rows_that_are_no_pairs_have_no_truth(tmp_path):
    text = PAIRED.replace('use = "tales"', 'use = "dots"\n    pair = true').replace(
        'of = "image"', 'of = "light"'
    )
    text = text.replace('to = "image"', 'to = "dark"')
    assert any(
        "the rows of 'light' and 'dark' are not paired" in line for line in told(tmp_path, text)
    )


def test_specs_say_what_is_made_of_vectors(tmp_path):
    plan = plan_of(tmp_path, PAINTING, *COMPONENTS)
    assert plan.domains["embedding"].spec == VectorSpec(3)
    assert plan.maker("embedding") == "text" and plan.maker("image") is None
    assert {"caption", "wrong-caption", "image"} <= plan.played_domains()


def test_grey_is_the_luma_of_itu_bt_601():
    red, green, blue = torch.eye(3).view(3, 3, 1, 1).expand(3, 3, 2, 2).split(1)
    for colour, luma in ((red, 0.299), (green, 0.587), (blue, 0.114)):
        grey = resized(colour, (1, 2, 2))
        assert grey.shape == (1, 1, 2, 2) and torch.allclose(grey, torch.tensor(luma))
