"""What can be pruned in a model, from its configuration alone: no weight is read."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from models.console.quiet import quiet_transformers
from models.errors import EspalierError, first_line
from pruning.anatomy.roles import Anatomy, Projection, find_anatomy
from pruning.registry import entries

FUSED_ROLES = ("qkv", "gate_up", "expert_gate_up")


@dataclass(frozen=True)
class Role:
    """The projections of one role: how many, the shapes [R, C] they have, and their part of all parameters.

    storage: "fused" (several matrices in one), "transposed" (as [C, R]), "stacked" (all experts in one parameter).
    """

    role: str
    count: int
    shapes: tuple[tuple[int, int], ...]
    parameters: int
    share: float
    storage: tuple[str, ...]


@dataclass(frozen=True)
class Capability:
    """What can be pruned, what is never, and which patterns lie on how many of the projections.

    `never_pruned` has parameters by what they are; a head that is the embeddings counts as embeddings. `experts` is
    the number in one block, 0 where there are none.
    """

    architecture: str
    blocks: int
    parameters: int
    projections: int
    roles: tuple[Role, ...]
    experts: int
    never_pruned: dict[str, int]
    patterns: dict[str, int]

    @property
    def prunable(self) -> int:
        """How many parameters can be pruned."""
        return sum(role.parameters for role in self.roles)

    def as_dict(self) -> dict:
        """The report as JSON types."""
        value = asdict(self)
        value["roles"] = [
            role | {"shapes": [list(shape) for shape in role["shapes"]], "storage": list(role["storage"])}
            for role in value["roles"]
        ]
        return value | {"prunable": self.prunable}


def skeleton(folder: Path) -> nn.Module:
    """The model that `folder` has the configuration of, without numbers. EspalierError if it cannot be built."""
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with quiet_transformers(), torch.device("meta"):
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
            model.tie_weights()  # which transformers 5.0 leaves out where there are no numbers
            return model
    except Exception as error:  # whatever a configuration can be wrong about
        raise EspalierError(
            f"No model can be made from {folder}/config.json ({first_line(error)}): fetch it again."
        ) from error


def take_capability(model: nn.Module) -> Capability:
    """Reports on a causal language model of transformers. UnknownArchitecture, with all that is not recognised."""
    anatomy = find_anatomy(model)
    total = sum(parameter.numel() for parameter in model.parameters())
    shapes = [(projection.rows, projection.columns) for projection in anatomy.projections]
    return Capability(
        architecture=type(model).__name__,
        blocks=len(anatomy.blocks),
        parameters=total,
        projections=len(shapes),
        roles=tuple(_roles(anatomy.projections, total)),
        experts=max((entry.expert + 1 for entry in anatomy.projections if entry.expert is not None), default=0),
        never_pruned=_never_pruned(model, anatomy),
        patterns={
            name: sum(pattern.misfit(*shape) is None for shape in shapes)
            for entry in entries("pattern")
            for name in entry.examples
            if (pattern := entry.implementation.parse(name))
        },
    )


def _roles(projections: Iterable[Projection], total: int) -> Iterable[Role]:
    by_role: dict[str, list[Projection]] = {}
    for projection in projections:
        by_role.setdefault(projection.role, []).append(projection)
    for role, found in by_role.items():
        parameters = sum(entry.rows * entry.columns for entry in found)
        storage = {
            "fused": role in FUSED_ROLES,
            "transposed": any(entry.transposed for entry in found),
            "stacked": any(entry.expert is not None for entry in found),
        }
        yield Role(
            role=role,
            count=len(found),
            shapes=tuple(dict.fromkeys((entry.rows, entry.columns) for entry in found)),
            parameters=parameters,
            share=parameters / total,
            storage=tuple(word for word, holds in storage.items() if holds),
        )


def _never_pruned(model: nn.Module, anatomy: Anatomy) -> dict[str, int]:
    """Every parameter that is no projection's, counted once: by the first of these that it is."""
    head = model.get_output_embeddings()
    kinds = {
        "embeddings": [module.weight for module in model.modules() if isinstance(module, nn.Embedding)],
        "head": [] if head is None else [head.weight],
        "routers": [model.get_parameter(name) for name in anatomy.routers],
        "norms, biases and the rest": list(model.parameters()),
    }
    seen = {id(projection.parameter) for projection in anatomy.projections}
    counts = {}
    for kind, parameters in kinds.items():
        new = {id(parameter): parameter.numel() for parameter in parameters if id(parameter) not in seen}
        counts[kind] = sum(new.values())
        seen |= set(new)
    return counts
