"""What settings leave open, chosen: optimizer and learning rate, schedule, batch size."""

from dataclasses import fields

from deepxp.cli.options import Settings
from deepxp.errors import ConfigError
from deepxp.optimizers import OPTIMIZERS, Constant, Cosine, Optimizer, StepDecay

RATES = {"adam": 2e-3, "adamw": 2e-3}  # twice the usual, as the schedule falls to 0; others bring their own
NAMES = {"momentum": "mu", "weight_decay": "weight_decay"}  # a setting -> the field of the optimizers that have it
USERS = {"momentum": "momentum and nesterov", "weight_decay": "adamw"}
BATCH, LEAST_BATCH, STEPS = 64, 8, 20


def optimizer_of(settings: Settings) -> Optimizer:
    """The optimizer with what the settings say of it. Raises ConfigError for a setting that is not one of its own."""
    kind = OPTIMIZERS[settings.optimizer]
    own = {"lr": settings.lr if settings.lr is not None else RATES.get(settings.optimizer, kind.lr)}
    for name, attribute in NAMES.items():
        value = getattr(settings, name)
        if value is None:
            continue
        if attribute not in {row.name for row in fields(kind)}:
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag} is of --optimizer {USERS[name]}, and has no effect on {settings.optimizer}")
        own[attribute] = value
    return kind(**own)


def schedule_of(settings: Settings) -> Constant:
    """The schedule; "step" has its steps after each third of the run."""
    match settings.schedule:
        case "step":
            return StepDecay(settings.warmup, every=-(-settings.epochs // 3))
        case "cosine":
            return Cosine(settings.warmup)
    return Constant(settings.warmup)


def batch_size_of(settings: Settings, m: int) -> int:
    """The batch size for m training samples: small data would otherwise see a step or two in an epoch."""
    return settings.batch_size or min(BATCH, max(LEAST_BATCH, m // STEPS))
