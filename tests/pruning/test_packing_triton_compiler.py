"""Triton's compiler takes the kernels for packed layers: it needs no GPU for that.

The process that runs these tests may have imported Triton with its interpreter chosen, so this file is also a program,
which compiles in a process of its own.
"""

from pathlib import Path

import pytest

pytest.importorskip("triton")

ROOT = Path(__file__).parent.parent.parent


def test_the_compiler_takes_the_kernels(run_cli, tmp_path):
    environment = dict(PYTHONPATH=str(ROOT), TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    done = run_cli(__file__, **environment, timeout=300)
    assert done.returncode == 0, done.stderr


def main() -> None:
    """Compiles for compute capability 9.0; bits must have become counting instructions."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from pruning.packing.kernels import triton_decode, triton_unpack

    masked, dense, unpacked = triton_decode._masked_product, triton_decode._dense_product, triton_unpack._unpack
    bf16 = dict(x="*bf16", values="*bf16", words="*i32", starts="*i64", bias="*bf16", out="*bf16")
    int8 = bf16 | dict(values="*i8", scales="*fp32", starts=None)
    product = dict(M=1, ROWS=8, WORDS=32, PARTS=1, GROUP=0, EACH=0, inputs=1)
    unpacking = dict(ROWS=4, WORDS=32, GROUP=0, EACH=0)
    for kernel, pointers, constants, warps in (
        (masked, bf16, product, 8),
        (masked, int8 | dict(out="*fp32"), product | dict(PARTS=2, GROUP=64, EACH=16), 8),
        (dense, int8, product | dict(M=4, WORDS=8), 4),
        (unpacked, bf16 | dict(values="*i16", out="*i16"), unpacking, 4),
        (unpacked, int8 | dict(words=None), unpacking | dict(GROUP=64), 4),
    ):
        names = kernel.arg_names
        types = {name: constants.get(name, pointers.get(name, None if name == "scales" else "i32")) for name in names}
        fixed = {name: value for name, value in types.items() if not isinstance(value, str)}
        signature = {name: "constexpr" if name in fixed else value for name, value in types.items()}
        source = ASTSource(kernel, signature, constexprs={(names.index(name),): fixed[name] for name in fixed})
        built = compile(source, target=GPUTarget("cuda", 90, 32), options=dict(num_warps=warps, enable_fp_fusion=True))
        assert ("popc" in built.asm["ptx"]) is ("words" in names and types["words"] is not None)


if __name__ == "__main__":
    main()
