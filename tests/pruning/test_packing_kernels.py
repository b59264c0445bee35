"""The compiled kernels: right for every shape, sparsity, dtype and instruction set, and safe where anything fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pruning.packing.format import Format
from pruning.packing.kernels import library
from pruning.packing.linear import PackedLinear
from pruning.packing.storage import decode, encode
from tests.pruning.packing_weights import weights

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "pruning" / "packing" / "kernels"
SETS = ("avx512", "avx2", "plain")
FORMATS = ("bitmask", "dense", "bitmask:int8", "dense:int8", "bitmask:int8:64", "dense:int8:128")
ROUNDING = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-10, torch.float32: 2.0**-19}


@pytest.fixture(autouse=True)
def best_kernels():
    yield
    library.use("")


def use(most: str) -> None:
    if library.kernels() is None:
        pytest.skip(f"kernels: {library.state()}")
    if library.use(most) != most:
        pytest.skip(f"this processor has no {most}")


def check_product(weight: torch.Tensor, format: str, x: torch.Tensor, bias: torch.Tensor | None) -> None:
    """The product is within the rounding of inputs, sums and output of that in double precision."""
    storage = encode(weight, Format.parse(format))
    layer = PackedLinear(storage, None if bias is None else nn.Parameter(bias, requires_grad=False))
    with torch.no_grad():
        found = layer(x)
    dense, wide = decode(storage).double(), x.double()
    expected, size = wide @ dense.T, wide.abs() @ dense.abs().T
    if bias is not None:
        expected, size = expected + bias.double(), size + bias.double().abs()
    slack = ROUNDING[x.dtype] * size + 1e-6
    if storage.format.int8:  # weights may be taken as they are before `decode` rounds them, inputs with 16 bits
        slack = slack + ROUNDING[x.dtype] * size + dense.abs().sum(1) * wide.abs().amax(1, keepdim=True) * 2.0**-15
    assert found.dtype == x.dtype and found.shape == expected.shape
    assert bool(((found.double() - expected).abs() <= slack).all())


@pytest.mark.parametrize("most", SETS)
@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 70), columns=st.integers(1, 300), count=st.integers(1, 14),
    sparsity=st.sampled_from([0.0, 0.5, 0.97, 1.0]), dtype=st.sampled_from(list(ROUNDING)),
    format=st.sampled_from(FORMATS), biased=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_the_product_is_that_of_the_dense_weight(most, rows, columns, count, sparsity, dtype, format, biased, seed):
    use(most)
    weight = weights(rows, columns, sparsity, dtype, seed)
    x = weights(count, columns, 0.0, dtype, seed + 1)
    check_product(weight, format, x, weights(1, rows, 0.0, dtype, seed + 2)[0] if biased else None)


@pytest.mark.parametrize("most", SETS)
@pytest.mark.parametrize("format", ["2:4", "2:4:int8", "1:4"])
def test_the_product_with_n_of_m(most, format):
    use(most)
    keep = int(format[0])
    weight = weights(33, 132, 0.0, torch.bfloat16)
    weight.view(33, -1, 4)[..., keep:] = 0
    for count in (1, 5):
        check_product(weight, format, weights(count, 132, 0.0, torch.bfloat16, 1), None)


@pytest.mark.parametrize("most", SETS)
@pytest.mark.parametrize("format", ["bitmask", "bitmask:int8", "dense"])
def test_many_rows_and_wide_matrices(most, format):
    use(most)
    weight = weights(130, 2100, 0.5, torch.bfloat16)
    check_product(weight, format, weights(37, 2100, 0.0, torch.bfloat16, 1), None)


@pytest.mark.parametrize("most", SETS)
@pytest.mark.parametrize("format", ["bitmask", "dense", "bitmask:int8"])
@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_an_input_that_is_not_finite_is_never_hidden(most, format, count, bad):
    use(most)
    layer = PackedLinear(encode(weights(8, 70, 0.5, torch.bfloat16), Format.parse(format)))
    x = weights(count, 70, 0.0, torch.bfloat16, 1)
    x[0, 3] = bad
    with torch.no_grad():
        y = layer(x)
    touched = layer.weight[:, 3] != 0
    assert not bool(y[0][touched].isfinite().any())
    assert bool(y[1:].isfinite().all())


@pytest.mark.parametrize("most", SETS)
def test_weights_that_are_not_finite_come_through(most):
    use(most)
    weight = weights(4, 64, 0.5, torch.bfloat16)
    weight[1, 5], weight[2, 6] = float("inf"), float("nan")
    with torch.no_grad():
        y = PackedLinear(encode(weight, Format.parse("bitmask")))(torch.ones(1, 64, dtype=torch.bfloat16))[0]
    assert y[1] == float("inf") and bool(y[2].isnan()) and bool(y[[0, 3]].isfinite().all())


def test_inputs_of_any_shape_and_layout():
    layer = PackedLinear(encode(weights(6, 40, 0.5, torch.float32), Format.parse("bitmask")))
    x = weights(24, 40, 0.0, torch.float32, 1)
    with torch.no_grad():
        flat = layer(x)
        assert torch.allclose(layer(x.reshape(2, 3, 4, 40)), flat.reshape(2, 3, 4, 6), atol=1e-5)
        assert torch.allclose(layer(x.t().contiguous().t()), flat, atol=1e-5)
        assert torch.allclose(layer(x[0]), flat[0], atol=1e-5)
        assert layer(x[:0]).shape == (0, 6)
        with pytest.raises(RuntimeError, match="40"):
            layer(x[:, :39])


def in_process(code: str, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


PRODUCT = """
import warnings, torch
from pruning.packing.format import Format
from pruning.packing.kernels import state
from pruning.packing.linear import PackedLinear
from pruning.packing.storage import encode
weight = torch.randn(20, 70) * (torch.rand(20, 70) < 0.5)
layer, x = PackedLinear(encode(weight, Format.parse("bitmask"))), torch.randn(3, 70)
with warnings.catch_warnings(record=True) as caught, torch.no_grad():
    warnings.simplefilter("always")
    assert torch.allclose(layer(x), x @ weight.T, atol=1e-4)
    layer(x)
print(state(), "| warnings:", *[warning.message for warning in caught if "Packed" in str(warning.message)])
"""


def test_without_a_compiler_it_works_and_says_once_what_to_install(tmp_path):
    done = in_process(PRODUCT, ESPALIER_KERNELS_CACHE=str(tmp_path), CXX="no-such-compiler")
    assert done.returncode == 0, done.stderr
    assert "none (there is no C++ compiler)" in done.stdout and done.stdout.count("Install g++") == 1


def test_a_compiler_that_fails_is_reported_with_its_error(tmp_path):
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho 'fatal error: nothing works today' >&2\nexit 1\n")
    broken.chmod(0o755)
    done = in_process(PRODUCT, ESPALIER_KERNELS_CACHE=str(tmp_path / "cache"), CXX=str(broken))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("none (") and "Install g++" in done.stdout


def test_kernels_can_be_switched_off():
    done = in_process(PRODUCT, ESPALIER_KERNELS="none")
    assert done.returncode == 0 and "switched off" in done.stdout and "Install" not in done.stdout


def test_nothing_is_compiled_at_import(tmp_path):
    code = "import pruning.packing.linear, pruning.packing.folder, pruning.packing.install"
    assert in_process(code, ESPALIER_KERNELS_CACHE=str(tmp_path)).returncode == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_two_processes_compile_once_even_after_one_was_killed(tmp_path):
    if library.kernels() is None:
        pytest.skip(library.state())
    os.environ["ESPALIER_KERNELS_CACHE"], before = str(tmp_path), os.environ.get("ESPALIER_KERNELS_CACHE")
    try:
        folder = library.cache_folder()
    finally:
        os.environ.pop("ESPALIER_KERNELS_CACHE")
        if before is not None:
            os.environ["ESPALIER_KERNELS_CACHE"] = before
    folder.mkdir(parents=True)
    (folder / "lock").touch()  # what torch's loader leaves when it is killed, and waits for without end
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PRODUCT], cwd=ROOT, env=os.environ | {"ESPALIER_KERNELS_CACHE": str(tmp_path)},
            stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0 and output.startswith(SETS), output
    assert len(list(folder.glob("*.so"))) == 1


@pytest.mark.slow
def test_no_kernel_leaves_its_memory(tmp_path):
    compiler = library._compiler()
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    program = tmp_path / "fuzz"
    sources = [
        Path(__file__).with_name("packing_fuzz.cpp"),
        *(KERNELS / f"{name}.cpp" for name in ("plain", "avx2", "avx512")),
    ]
    flags = [
        "-std=c++20",
        "-O1",
        "-g",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=undefined",
        f"-I{KERNELS}",
    ]
    built = subprocess.run([compiler, *flags, *sources, "-o", program], capture_output=True, text=True)
    if built.returncode and "asan" in built.stderr:
        pytest.skip("this compiler has no sanitizers")
    assert built.returncode == 0, built.stderr
    done = subprocess.run([program, "7", "150"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "plain" in done.stdout and "0 failures" in done.stdout


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left on device"), "ESPALIER_KERNELS_CACHE"),
        (PermissionError(13, "Permission denied"), "ESPALIER_KERNELS_CACHE"),
        (RuntimeError("Error building extension: c++: fatal error: No space left on device"), "ESPALIER_KERNELS_CACHE"),
        (OSError("there is no C++ compiler"), "Install g++ and ninja"),
        (RuntimeError("Ninja is required to load C++ extensions"), "Install g++ and ninja"),
    ],
)
def test_kernels_that_cannot_be_had_come_with_the_remedy_that_fits(monkeypatch, error, says):
    def fail():
        raise error

    monkeypatch.delenv("ESPALIER_KERNELS", raising=False)
    monkeypatch.setattr(library, "_open", fail)
    with pytest.warns(library.SlowKernels) as told:
        assert library._load()[0] is None
    others = {"ESPALIER_KERNELS_CACHE", "Install g++ and ninja"} - {says}
    assert says in str(told[0].message) and not any(other in str(told[0].message) for other in others)
