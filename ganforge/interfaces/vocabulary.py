"""The closed vocabulary: everything a loss method may ask for by parameter name.

Light, so that `check` can hold a loss against a recipe without importing it.
A name is `<input>` or `<input>_<quantity>`; translations have names of their own.
"""

from __future__ import annotations

INPUTS = {
    "real": "real data of the domain that the discriminator judges",
    "labelled": "real data whose labels are known: rows of their own where the data has such, else "
    "the same as real",
    "fake": "what a generator made for that domain",
    "mixed": "points on the lines between real and fake, one per pair",
    "mismatched": "real data with another row's condition",
    "second": "another fake of the same condition, from other noise",
}

# What a discriminator returned for an input. Reading one makes the loss a loss of pairings.
DISCRIMINATOR_OUTPUT = {
    "seen": "the data after the augmentors, as the discriminator sees it",
    "scores": "raw scores, logits, [N] or a map of patches [N, ...]",
    "class_scores": "class logits, [N, classes]",
    "features": "features before the last layer, [N, ...]",
    "reconstruction": "an autoencoding discriminator's output, the shape of what it saw",
    "gradient": "gradient of the scores' sum with respect to the data, the data's shape",
}

# What goes with an input whoever judges it.
BESIDE = {
    "labels": "class numbers, int64 [N]",
    "given": "the condition that the discriminator is given, a tuple of tensors",
}

# What a generator may return beside data (see GeneratorOutput).
GENERATOR_OUTPUT = {
    "latents": "the noise or code the data was made from, [N, ...]",
    "posterior": "the generator's distribution over its code: (mean, log-variance), each [N, D]",
    "log_probs": "log-probabilities of the discrete choices made, [N, ...]",
}

TRANSLATION = {
    "source": "what the generator was given (the first of its sources)",
    "made": "what it made of that",
    "cycled": "that, brought back by the inverse generator",
    "same": "what it makes of real data of its own target domain",
    "truth": "the row of its target's data that belongs to the source, where the data is paired",
}

# The log-probabilities of what was not drawn but is given, for likelihood training.
FORCED = {
    "real_log_probs": "what the generator gives to each token of the row of its target's data that "
    "belongs to the source, log-probabilities [N, length]",
}

TURN = {"turn": "the whole turn: networks, batch and every pairing"}


def _vocabulary() -> dict[str, str]:
    names = dict(INPUTS)
    for source, what in INPUTS.items():
        quantities = (
            DISCRIMINATOR_OUTPUT
            | BESIDE
            | (GENERATOR_OUTPUT if source in ("fake", "second") else {})
        )
        names |= {f"{source}_{q}": f"{text}, of: {what}" for q, text in quantities.items()}
    return names | TRANSLATION | FORCED | TURN


VOCABULARY: dict[str, str] = _vocabulary()


# What inputs were called in 0.1.0; losses that still ask by these names are warned of, and play.
FORMER = {"twin": "second"}


def current(name: str) -> str:
    """A name as the vocabulary has it now."""
    source, joint, quantity = name.partition("_")
    return FORMER.get(source, source) + joint + quantity


def split(name: str) -> tuple[str, str]:
    """`real_class_scores` -> (`real`, `class_scores`); a bare name has the quantity `data`."""
    source, _, quantity = current(name).partition("_")
    return source, quantity or "data"


def reads_output(name: str) -> bool:
    """Whether this name is only known once a discriminator has looked."""
    return split(name)[1] in DISCRIMINATOR_OUTPUT or name == "turn"
