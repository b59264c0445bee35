"""What the experts of a mixture are given, seen while the model's own code runs.

Experts whose matrices lie in one parameter [E, R, C] are not modules, so that no hook sees their inputs. Their matrix
products are watched instead: one whose second operand lies where an expert's matrix lies is that expert's. Nothing is
assumed about the routing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from pruning.anatomy.roles import Projection

MATRIX_PRODUCTS = {torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__}  # besides functional.linear
Take = Callable[[Projection, Tensor], None]  # the expert's projection, its inputs [T, C]


@contextmanager
def watch_experts(projections: Sequence[Projection], take: Take) -> Iterator[None]:
    """While it is open, `take` is called with the inputs of every expert among `projections` that runs.

    Meanwhile the experts run one after the other ("eager", as transformers calls it): other implementations multiply
    all experts in one kernel, or copy their matrices first.
    """
    experts = [projection for projection in projections if projection.expert is not None]
    if not experts:
        yield
        return
    configs = {id(config): config for expert in experts if (config := getattr(expert.module, "config", None))}
    chosen = [(config, config._experts_implementation) for config in configs.values()]
    try:
        for config, _ in chosen:
            config._experts_implementation = "eager"
        with _MatrixProducts(experts, take):
            yield
    finally:
        for config, implementation in chosen:
            config._experts_implementation = implementation


class _MatrixProducts(TorchFunctionMode):
    def __init__(self, experts: Sequence[Projection], take: Take):
        super().__init__()
        self._experts: dict[str, dict[int, Projection]] = {}  # by parameter, then by expert
        for expert in experts:
            self._experts.setdefault(expert.parameter_name, {})[expert.expert] = expert
        self._take = take

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is functional.linear or function in MATRIX_PRODUCTS:
            inputs, matrix = [*args, *kwargs.values()][:2]
            if matrix.ndim == 2:
                self._observe(inputs, matrix if function is functional.linear else matrix.t())
        return function(*args, **kwargs)

    def _observe(self, inputs: Tensor, matrix: Tensor) -> None:
        storage = matrix.untyped_storage().data_ptr()
        for experts in self._experts.values():
            parameter = next(iter(experts.values())).parameter  # asked for anew: it may have moved to another device
            if parameter.untyped_storage().data_ptr() == storage:
                index = (matrix.storage_offset() - parameter.storage_offset()) // parameter.stride(0)
                if (expert := experts.get(index)) is not None and _same(matrix, expert.weight):
                    self._take(expert, inputs.detach())


def _same(matrix: Tensor, weight: Tensor) -> bool:
    return (matrix.data_ptr(), matrix.shape, matrix.stride()) == (weight.data_ptr(), weight.shape, weight.stride())
