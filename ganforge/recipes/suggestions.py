"""The nearest name that exists, and what the words of other frameworks are called here."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

# Where the word of another framework leads: `table.key`, or a bare key of the table it is in.
_FOREIGN = {
    # the course of the run
    "train.steps": "iterations iters n_iter niter n_iters num_iters max_iters num_iterations"
    " max_iterations total_iterations num_steps n_steps max_steps total_steps kimg total_kimg",
    "train.epochs": "n_epochs num_epochs max_epochs nepochs nb_epochs epoch total_epochs",
    "train.batch": "batch_size batchsize bs minibatch minibatch_size train_batch_size batch_gpu",
    "train.discriminator_steps": "n_critic ncritic critic_steps critic_iters critic_iterations"
    " d_steps d_iters disc_steps disc_iters n_disc n_dis num_d_steps dis_steps k",
    "train.accumulate": "accumulation_steps gradient_accumulation gradient_accumulation_steps"
    " accumulate_grad_batches grad_accum num_accumulations",
    "train.precision": "amp use_amp fp16 use_fp16 half mixed_precision dtype bf16 autocast",
    "train.device": "gpu gpus gpu_id gpu_ids cuda use_cuda accelerator",
    "train.seed": "random_seed manual_seed manualseed rng_seed random_state",
    "train.threads": "num_threads n_threads num_workers n_workers workers n_cpu",
    "train.layout": "memory_format channels_last nhwc",
    # data and noise
    "data.use": "dataset dataset_name dataset_mode dataset_type",
    "data.root": "dataroot data_root data_dir data_path dataset_path datadir image_dir img_dir"
    " train_dir folder path",
    "data.size": "image_size img_size imsize im_size imagesize crop_size cropsize fine_size"
    " finesize resolution res image_resolution",
    "data.load": "load_size loadsize resize_size",
    "data.fit": "preprocess resize resize_mode crop",
    "data.flip": "hflip horizontal_flip random_flip mirror no_flip",
    "data.channels": "nc input_nc output_nc in_channels out_channels img_channels image_channels"
    " num_channels n_channels",
    "noise.dim": "z_dim zdim nz z latent_dim latent_size z_size noise_dim noise_size n_noise"
    " dim_z embed_dim code_dim",
    "noise.distribution": "z_distribution noise_type z_type latent_distribution",
    # optimizers
    "optimizer.lr": "learning_rate learningrate base_lr initial_lr lrate alpha_lr",
    "optimizer.betas": "beta beta1 beta_1 beta2 beta_2 b1 b2 adam_betas adam_beta1",
    "optimizer.use": "optim optimiser solver optimizer_type",
    "optimizer.eps": "epsilon adam_eps",
    "optimizer.weight_decay": "wd l2 decay",
    "optimizer.schedule": "scheduler lr_scheduler lr_schedule lr_policy lr_decay sched",
    # losses
    "losses.adversarial.use": "gan_mode gan_loss gan_type adv_loss adversarial_loss loss_type"
    " loss_fn criterion objective",
    "losses.cycle-consistency.weight": "lambda_cycle lambda_cyc lambda_a lambda_b cycle_weight"
    " lambda_recon",
    "losses.identity.weight": "lambda_identity lambda_idt lambda_id identity_weight idt_weight",
    # augmentors and hooks
    "augmentors.image-pool.size": "pool_size poolsize image_pool_size buffer_size max_size"
    " history_size",
    "hooks.samples.every": "sample_interval sample_every sample_freq display_freq image_every"
    " sample_period vis_freq",
    "hooks.checkpoint.every": "checkpoint_every checkpoint_interval checkpoint_freq save_every"
    " save_interval save_freq save_epoch_freq save_steps ckpt_interval snapshot_interval",
    "hooks.metrics.every": "log_every log_interval log_freq log_steps print_freq print_every"
    " display_interval",
    # keys of networks
    "width": "ngf ndf nf nef dim_base base_channels base_dim base_width hidden_channels conv_dim"
    " channel_base ch base_features num_filters n_filters filters features feature_maps",
    "blocks": "n_blocks num_blocks n_residual_blocks num_res_blocks n_res residual_blocks"
    " res_blocks",
    "layers": "n_layers n_layers_d num_layers depth",
    "ema": "ema_decay ema_beta ema_rate ema_kimg use_ema moving_average polyak",
    "clip": "grad_clip clip_grad gradient_clip gradient_clip_val max_grad_norm max_norm clip_norm",
    "init": "init_type init_gain weight_init weights_init initializer init_std pretrained",
    "freeze": "frozen requires_grad trainable",
    "from": "source sources input inputs in domain_a",
    "to": "target targets output out domain_b",
    "on": "domain domains judges guards discriminator discriminators generator generators nets",
    "given": "condition conditions conditional cond y",
    # keys of every component
    "use": "type kind class cls model arch architecture network net backbone _target_ target_"
    " which_model_netg which_model_netd netg netd source algorithm",
    "like": "same_as copy copy_from base inherit share",
    "weight": "lambda lambda_ lam scale coef coefficient coeff factor loss_weight w",
    "every": "interval freq frequency period n_steps every_n every_n_steps",
    "start": "begin from_step start_step",
    "stop": "end until to_step",
    "off": "enabled enable disabled disable active",
    "dropout": "dropout_rate p_drop use_dropout no_dropout",
    "norm": "normalization norm_layer batch_norm batchnorm use_bn norm_type",
    # tables
    "data": "dataset datasets dataloader input",
    "train": "training trainer run loop settings general",
    "noise": "latent latents z prior",
    "optimizer": "optim optimiser optimizers optimisers solver scheduler schedule",
    "generator": "g netg gen model network networks",
    "generators": "nets gens",
    "discriminator": "d netd disc critic",
    "discriminators": "critics",
    "losses": "loss criterion objective objectives terms",
    "augmentors": "augment augmentation augmentations transforms transform diffaugment ada",
    "hooks": "hook callback callbacks logging logger",
    "metrics": "metric evaluation eval evaluate",
    "preview": "debug quick small smoke",
    "extends": "base _base_ inherits parent defaults extend include",
}

# Every command of ours, and what other tools call it.
_COMMANDS = {
    "run": "train resume fit start continue",
    "sweep": "tune search grid hparams hyperparameters multirun study",
    "check": "validate lint verify",
    "bench": "benchmark profile time timeit",
    "runs": "experiments history ps",
    "sample": "generate inference infer test draw",
    "translate": "convert transfer",
    "walk": "interpolate interpolation lerp slerp morph",
    "arithmetic": "math vectors latent_arithmetic",
    "filters": "activations kernels feature_maps visualize",
    "nearest": "neighbours neighbors knn copies memorization",
    "export": "onnx deploy freeze save",
    "evaluate": "eval score metrics fid",
    "replay": "reproduce nan",
    "graph": "plot plots curves charts losses tensorboard",
    "report": "html summary compare dashboard",
    "list": "ls components plugins recipes",
    "show": "info describe inspect cat",
    "doctor": "diagnose debug",
    "new": "init create scaffold",
    "schema": "json_schema jsonschema",
    "data": "dataset datasets download fetch prepare",
}

_TABLES = (
    *("data", "train", "noise", "optimizer", "generator", "generators", "discriminator"),
    *("discriminators", "losses", "augmentors", "hooks", "metrics", "preview", "extends"),
)
_NETWORK = (
    *("width", "blocks", "layers", "ema", "clip", "init", "freeze", "to", "on", "given"),
    *("dropout", "norm"),
)


def nearest(word: str, candidates: Iterable[str], *, most: int = 3) -> list[str]:
    """The candidates that `word` may be meant for, best first; empty when none is near.

    `_` and `-`, capitals and a plural do not count as differences; a name that begins with the
    word, or the word with a name, counts as near.
    """
    import difflib

    known: dict[str, list[str]] = {}
    for candidate in dict.fromkeys(candidates):
        known.setdefault(_plain(candidate), []).append(candidate)
    plain = _plain(word)
    names = [plain] if plain in known else []
    if len(plain) >= 3:
        parts = (name for name in known if plain in name.split("-"))
        begins = (n for n in known if n.startswith(plain) or (len(n) >= 4 and plain.startswith(n)))
        names += [*difflib.get_close_matches(plain, known, n=most, cutoff=0.7), *begins, *parts]
    names += difflib.get_close_matches(plain, known, n=most, cutoff=0.6)
    found = [candidate for name in dict.fromkeys(names) for candidate in known[name]]
    return found[:most]


def foreign(word: str, where: str) -> str | None:
    """What the word of another framework is called here, or None.

    where: the table it was written in, such as "train" or "generators.main"; "" for the top
    level, "command" for the command line. The answer is a key of that table where it is one, else
    an address from the top of the recipe such as "train.batch". A word of ours that is written in
    the wrong table leads to its own.
    """
    plain = _joined(word)
    if where == "command":
        return next((name for name, words in _COMMANDS.items() if plain in words.split()), None)
    head = where.partition(".")[0]
    answers = [address for address in _words().get(plain, ()) if _fits(address, head)]
    answers += [home for home in _homes().get(word.replace("-", "_"), ()) if _fits(home, head)]
    own = [address for address in answers if head and address.startswith(f"{head}.")]
    bare = [address for address in answers if "." not in address]
    if own:
        return own[0].rpartition(".")[2]
    if bare and not head and bare[0] in _NETWORK:
        return f"generator.{bare[0]}"
    return next(iter([*bare, *answers]), None)


def _fits(address: str, head: str) -> bool:
    """Whether this answer can help somebody who is writing in the table `head`."""
    if address in _TABLES:
        return not head
    if "." in address:
        return True
    if address in _NETWORK:
        return head in ("", "generators", "discriminators") or (head, address) == ("losses", "on")
    return bool(head) and head not in ("train", "noise")


def _plain(word: str) -> str:
    """`Image_Pools` and `image-pool` are the same word."""
    return "-".join(_singular(part) for part in word.casefold().replace("_", "-").split("-"))


def _singular(word: str) -> str:
    if word.endswith("sses"):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _joined(word: str) -> str:
    return word.casefold().replace("-", "_")


@cache
def _words() -> dict[str, list[str]]:
    words: dict[str, list[str]] = {}
    for address, aliases in _FOREIGN.items():
        for alias in aliases.split():
            words.setdefault(alias, []).append(address)
    return words


@cache
def _homes() -> dict[str, list[str]]:
    """Keys of the tables that belong to the core: where each of them lives."""
    import attrs

    from ganforge.interfaces.manifest import ImageOptions
    from ganforge.interfaces.settings import Adam, NoiseSettings, TrainSettings

    tables = {
        "train": TrainSettings,
        "data": ImageOptions,
        "noise": NoiseSettings,
        "optimizer": Adam,
    }
    homes: dict[str, list[str]] = {}
    for table, cls in tables.items():
        for attribute in attrs.fields(cls):
            homes.setdefault(attribute.name, []).append(f"{table}.{attribute.name}")
    homes["schedule"] = ["optimizer.schedule"]
    return homes
