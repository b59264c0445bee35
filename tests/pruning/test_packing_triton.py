"""The Triton kernels for packed layers: in Triton's interpreter, and on a GPU where there is one.

The interpreter must be chosen before Triton is imported, and the process that runs these tests may hold it already: so
this file is also a program, which runs the cases in a process of its own and writes what failed as JSON.
"""

import json
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import Mock

import pytest

pytest.importorskip("triton")

import torch
from torch import nn
from torch.nn.functional import linear

from pruning.packing.format import Format
from pruning.packing.kernels import gpu
from pruning.packing.kernels.library import SlowKernels
from pruning.packing.linear import PackedLinear
from pruning.packing.storage import decode, encode

ROOT = Path(__file__).parent.parent.parent
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
BITS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}
on_gpu = pytest.mark.skipif(
    not torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1", reason="there is no CUDA device"
)


@dataclass(frozen=True)
class Case:
    """A layer and inputs; plan: rows, words, warps and split of the kernel, or None for its own choice."""

    format: str
    columns: int
    sparsity: float
    dtype: str
    inputs: int
    bias: bool = False
    plan: tuple[int, int, int, int] | None = None
    rows: int = 11

    def __str__(self) -> str:
        plan = "" if self.plan is None else f"-{','.join(map(str, self.plan))}"
        return f"{self.format}-{self.columns}-{self.sparsity}-{self.dtype}-{self.inputs}-{self.bias}{plan}"

    def layer(self) -> PackedLinear:
        format, generator = Format.parse(self.format), torch.Generator().manual_seed(len(str(self)) + self.columns)
        scores = torch.rand(self.rows, self.columns, generator=generator)
        keep = scores >= self.sparsity
        if format.kind == "n:m":
            groups = scores.reshape(self.rows, -1, format.of)
            keep = (groups >= groups.sort(-1, descending=True)[0][..., format.keep - 1 :][..., :1]).reshape(keep.shape)
        keep[4] = False
        weight = torch.randn(self.rows, self.columns, generator=generator).where(keep, 0).to(DTYPES[self.dtype])
        bias = torch.randn(self.rows, generator=generator).to(weight.dtype) if self.bias else None
        return PackedLinear(encode(weight, format), None if bias is None else nn.Parameter(bias, requires_grad=False))

    def x(self) -> torch.Tensor:
        numbers = torch.randn(self.inputs, self.columns, generator=torch.Generator().manual_seed(self.inputs))
        return numbers.to(DTYPES[self.dtype])


FORMATS = ("bitmask", "2:4", "dense", "bitmask:int8", "bitmask:int8:64", "dense:int8")
CASES = [
    # every format in every dtype, with columns that fill no word, for one row of inputs and for more
    *(
        Case(format, 100, 0.5, dtype, inputs, bias=inputs > 1)
        for format in FORMATS
        for dtype, inputs in (("bf16", 1), ("fp16", 3), ("fp32", 8))
    ),
    *(Case("bitmask", 33, sparsity, "fp32", 1) for sparsity in (0.0, 0.5, 0.97)),
    *(Case("bitmask:int8:64", 130, sparsity, "bf16", 2, True) for sparsity in (0.0, 0.97)),
    *(Case("bitmask", 130, 0.5, "fp16", inputs) for inputs in (2, 4, 5, 6, 7)),
    Case("dense:int8:64", 130, 0.5, "fp32", 1, True),
    Case("dense:int8:64", 130, 0.5, "bf16", 5),
    Case("2:4:int8:128", 260, 0.5, "fp32", 1),
    Case("32:64", 192, 0.5, "fp16", 2),
    Case("1:16", 160, 0.9, "fp32", 1),
    # several tiles, and several programs for a row, one of them without any columns of the last tile
    *(Case(format, 260, 0.5, "fp32", 2, True, (4, 2, 1, 3)) for format in FORMATS),
    Case("dense:int8:64", 260, 0.5, "fp32", 1, True, (4, 4, 1, 3)),
    Case("32:64:int8:64", 320, 0.5, "fp32", 1, True, (8, 2, 1, 4)),
    Case("bitmask", 260, 0.7, "bf16", 1, True, (8, 4, 1, 1)),
    Case("dense:int8", 130, 0.5, "fp16", 1, True, (8, 2, 1, 2)),
    Case("bitmask", 1, 0.0, "fp32", 1),
]  # fmt: skip


def check_product(case: Case, device: str = "cpu") -> None:
    """The kernel's product against that of the decoded weight in fp64."""
    from pruning.packing.kernels import triton_decode

    layer, x = case.layer().to(device), case.x().to(device)
    weight, inputs = decode(layer.storage).double(), x.cpu().double()
    bias = layer.bias.cpu().double() if case.bias else torch.zeros(case.rows).double()
    found = triton_decode.multiply(layer, x, case.plan and triton_decode.Plan(*case.plan))
    wanted, sizes = linear(inputs, weight, bias), linear(inputs.abs(), weight.abs(), bias.abs())
    one = torch.finfo(x.dtype).eps  # the interpreter cuts bf16 off where a GPU rounds
    error = (found.cpu().double() - wanted).abs()
    # an output's rounding, that of sums in fp32, and that of the decoded int8 weights, which the kernel does not round
    allowed = one * wanted.abs() + (1e-6 + layer.format.int8 * one / 2) * sizes + 1e-6
    assert found.dtype == x.dtype and found.shape == wanted.shape
    assert (error <= allowed).all(), f"off by {(error / allowed).max():.2f} times what rounding explains"


def check_unpacking(case: Case, device: str = "cpu") -> None:
    """The unpacked rows against `decode`, bit for bit, all of them and some; nothing else is written."""
    from pruning.packing.kernels.triton_unpack import unpack

    wanted = decode((layer := case.layer().to(device)).storage)
    wanted = [wanted.view(bits := BITS[wanted.dtype])]
    if device == "cpu" and layer.format.int8 and case.dtype == "bf16":  # cut off, see above
        exact = decode(replace(layer.storage, dtype=torch.float32))
        wanted.append((exact.view(torch.int32) >> 16).to(torch.int16))
    for first, count in ((0, case.rows), (3, 5), (case.rows - 1, 1)):
        target = torch.full((count + 1, case.columns), 7.0, dtype=layer.dtype, device=device)
        found = unpack(layer, target[:count], first).cpu().view(bits)
        assert any(torch.equal(found, right[first : first + count]) for right in wanted)
        assert (target[count] == 7).all()


def check_signs_and_payloads(device: str = "cpu") -> None:
    """-0.0 and any NaN come back as they are; an infinite weight reaches its own outputs only."""
    from pruning.packing.kernels import triton_decode
    from pruning.packing.kernels.triton_unpack import unpack

    weight = torch.zeros(5, 70)
    weight[1, 3], weight[2, 69], weight[4, 64:] = -0.0, float("inf"), 2.0
    weight.view(torch.int32)[3, 32] = 0x7F812345
    for dtype in (torch.float32, torch.bfloat16):
        cut = weight.to(dtype)
        layer = PackedLinear(encode(cut, Format.parse("bitmask"))).to(device)
        found = unpack(layer, torch.empty(5, 70, dtype=dtype, device=device)).cpu()
        assert torch.equal(found.view(BITS[dtype]), cut.view(BITS[dtype]))
        product = triton_decode.multiply(layer, torch.ones(1, 70, dtype=dtype, device=device)).cpu()
        assert product.isfinite().tolist() == [[True, True, False, False, True]]


def check_values_that_are_not_finite(device: str = "cpu") -> None:
    """Outputs are not finite wherever the dense product's are not: a pruned weight hides no input."""
    from pruning.packing.kernels import triton_decode

    for format, columns in (("bitmask", 133), ("2:4", 132), ("dense:int8", 131), ("bitmask:int8:64", 67)):
        layer, x = (case := Case(format, columns, 0.9, "fp16", 3)).layer().to(device), case.x().to(device)
        x[1, 0], x[2, 5] = float("nan"), float("inf")  # the first lies right after another row's last
        found, wanted = triton_decode.multiply(layer, x), linear(x.cpu().float(), decode(layer.storage).float())
        assert found[0].isfinite().all() and not found[1:].isfinite().any() and not wanted[1:].isfinite().any()


def check_layers(device: str = "cpu") -> None:
    """`multiply_on_gpu`: leading axes, few and many rows, none at all, another dtype, and more than a scratch holds."""
    for format in ("bitmask", "2:4:int8", "dense", "dense:int8"):
        layer = Case(format, 100, 0.5, "fp32", 1, bias=True).layer().to(device)
        weight, bias = decode(layer.storage).double(), layer.bias.cpu().double()
        for shape in ((100,), (1, 3, 100), (2, 9, 100), (0, 100), (2, 0, 100)):
            x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(device)
            found = gpu.multiply_on_gpu(layer, x)
            wanted = linear(x.cpu().double(), weight, bias)
            assert found.shape == wanted.shape
            torch.testing.assert_close(found.cpu().double(), wanted, rtol=1e-4, atol=1e-4)
        whole = gpu.multiply_on_gpu(layer, x := torch.randn(12, 100, device=device))
        most, gpu.SCRATCH = gpu.SCRATCH, 4 * 400
        try:
            torch.testing.assert_close(gpu.multiply_on_gpu(layer, x), whole)
        finally:
            gpu.SCRATCH = most
        half = gpu.multiply_on_gpu(layer, x[:2].half())
        assert half.dtype == torch.float16
        torch.testing.assert_close(half.float(), whole[:2], rtol=1e-2, atol=5e-2)
        with pytest.raises(RuntimeError):
            gpu.multiply_on_gpu(layer, torch.randn(2, 200, device=device))
    gpu.free_scratch()
    assert not gpu._unusable, gpu._unusable


def checks(device: str = "cpu") -> dict:
    """All that is checked, by name."""
    everything = {f"product-{case}": lambda case=case: check_product(case, device) for case in CASES}
    chosen = [case for case in CASES if case.plan is None and case.inputs in (1, 3, 5)]
    everything |= {f"unpacking-{case}": lambda case=case: check_unpacking(case, device) for case in chosen}
    for check in (check_signs_and_payloads, check_values_that_are_not_finite, check_layers):
        everything[check.__name__] = lambda check=check: check(device)
    return everything


@pytest.fixture(scope="module")
def interpreted(run_cli):
    """What failed of the checks that the program below runs, by name; None for what passed."""
    done = run_cli(__file__, PYTHONPATH=str(ROOT), TRITON_INTERPRET="1", timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", checks())
def test_in_the_interpreter(name, interpreted):
    if "only 0-dimensional arrays" in str(interpreted[name]):
        pytest.skip("this Triton's interpreter does not work with this numpy")
    assert interpreted[name] is None, interpreted[name]


def test_plans_keep_most_multiprocessors_busy_and_parts_of_rows_long():
    from pruning.packing.kernels.triton_decode import plan

    for rows, columns in ((4096, 4096), (14336, 4096), (4096, 14336), (1024, 4096), (64, 8192), (3, 65), (1, 1)):
        for inputs, masked in ((inputs, masked) for inputs in range(1, 9) for masked in (True, False)):
            how = plan(rows, columns, inputs, masked, 132)
            tiles, programs = -(-columns // (32 * how.words)), -(-rows // how.rows) * how.split
            assert all(number & (number - 1) == 0 for number in (how.rows, how.words, how.warps))
            assert how.words >= 2 and 1 <= how.warps <= 8 and 1 <= how.split <= max(1, tiles // 2)
            assert 2 * programs > 132 or how.split == max(1, tiles // 2)


def test_without_triton_one_warning_and_the_dense_product(monkeypatch):
    monkeypatch.setattr(gpu, "_unusable", [])
    monkeypatch.setitem(sys.modules, "pruning.packing.kernels.triton_decode", None)
    monkeypatch.delattr(sys.modules["pruning.packing.kernels"], "triton_decode", raising=False)
    layer, x = Case("bitmask", 100, 0.5, "fp32", 1, True).layer(), torch.randn(2, 100)
    with pytest.warns(SlowKernels, match="there is no Triton. Install triton"):
        first = gpu.multiply_on_gpu(layer, x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = gpu.multiply_on_gpu(layer, x)
    assert torch.equal(first, second) and torch.equal(first, linear(x, layer.weight, layer.bias))


def test_kernels_that_fail_are_given_up_but_not_for_want_of_memory(monkeypatch):
    layer, x = Case("2:4", 100, 0.5, "fp32", 1).layer(), torch.randn(1, 100)
    monkeypatch.setattr(gpu, "_unusable", [])
    monkeypatch.setattr(gpu, "_multiply", Mock(side_effect=[torch.OutOfMemoryError, RuntimeError("no ptxas.\nLog")]))
    with pytest.raises(torch.OutOfMemoryError):
        gpu.multiply_on_gpu(layer, x)
    with pytest.warns(SlowKernels, match="no ptxas. A Triton that suits"):
        assert torch.equal(gpu.multiply_on_gpu(layer, x), linear(x, layer.weight))
    assert gpu._unusable == ["RuntimeError: no ptxas"]


def test_packed_layers_do_not_import_triton():
    code = "import sys, pruning.packing.linear, pruning.packing.kernels.gpu; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120).returncode == 0


@on_gpu
@pytest.mark.cuda
@pytest.mark.parametrize("name", checks())
def test_on_a_gpu(name):
    checks("cuda")[name]()


@on_gpu
@pytest.mark.cuda
@pytest.mark.parametrize("format", ["bitmask", "2:4", "bitmask:int8:64", "dense:int8"])
def test_real_sizes_on_a_gpu(format):
    for rows, columns, inputs in ((4096, 4096, 1), (1024, 4096, 1), (4096, 14336, 1), (256, 8192, 2), (512, 4160, 8)):
        check_product(Case(format, columns, 0.5, "bf16", inputs, True, rows=rows), "cuda")
    layer = Case(format, 4096, 0.5, "bf16", 1, rows=4096).layer().to("cuda")
    x = torch.randn(64, 4096, device="cuda").bfloat16()
    assert torch.equal(gpu.multiply_on_gpu(layer, x), linear(x, layer.weight, layer.bias))


@on_gpu
@pytest.mark.cuda
def test_semi_structured_copies_give_the_same_product_on_a_gpu(monkeypatch):
    from pruning.packing.kernels import semi_structured

    semi_structured.forget()
    layer = Case("2:4", 1024, 0.5, "bf16", 1, True, rows=1024).layer().to("cuda")
    for won in (True, False):
        monkeypatch.setattr(semi_structured, "_is_faster", Mock(return_value=won))
        for inputs in (1, 64):
            x = torch.randn(inputs, 1024, device="cuda").bfloat16()
            found = gpu.multiply_on_gpu(layer, x, copies=True)
            torch.testing.assert_close(found, linear(x, layer.weight, layer.bias), rtol=2e-2, atol=0.25)
        assert (layer in semi_structured._copies) is won
        semi_structured.forget()


def main() -> None:
    """Runs the checks; the last line is JSON, of a message for each name or null."""
    found: dict[str, str | None] = {}
    for name, check in checks().items():
        try:
            check()
            found[name] = None
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(found))


if __name__ == "__main__":
    main()
