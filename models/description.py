"""What a model is, in figures: read from its configuration and its parameters."""

from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from models.memory import parameter_bytes, parameter_count
from models.storage.files import sha256

PLACES_AFTER_PADDING = {
    "camembert", "data2vec-text", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
}  # fmt: skip


@dataclass(frozen=True)
class Description:
    """A loaded model in figures. Bytes are of the weights as they lie in memory, tied ones counted once.

    notes: what loading did that a person must know, such as an adapter that was merged.
    """

    id: str
    revision: str
    family: str
    architecture: str
    parameters: int
    bytes: int
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    context: int
    vocabulary: int
    dtype: str
    device: str
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict:
        """The description as JSON types."""
        return asdict(self) | {"notes": list(self.notes)}


def describe(model: nn.Module, id: str, revision: str, notes: tuple[str, ...] = ()) -> Description:
    """Describes a causal language model of transformers."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", 0)
    parameter = next(model.parameters())
    return Description(
        id=id,
        revision=revision,
        family=config.model_type,
        architecture=type(model).__name__,
        parameters=parameter_count(model),
        bytes=parameter_bytes(model),
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        context=context_length(config),
        vocabulary=config.vocab_size,
        dtype=str(model.dtype).removeprefix("torch."),
        device=parameter.device.type,
        notes=notes,
    )


def context_length(config) -> int:
    """The longest sequence that the configuration promises; 2048 where it promises none (ALiBi, XLNet's -1).

    The families that number places from their padding token on have as many fewer than their configuration says.
    """
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        value = getattr(config, name, None)
        if value is not None and value > 0:
            unused = (config.pad_token_id or 0) + 1 if config.model_type in PLACES_AFTER_PADDING else 0
            return int(value) - unused
    return 2048


def content_hash(files: list[Path]) -> str:
    """The identity of a local model: SHA-256 over the names and hashes of its files, 16 hex digits of it."""
    import hashlib

    lines = "".join(f"{file.name} {sha256(file)}\n" for file in files)
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()[:16]}"
