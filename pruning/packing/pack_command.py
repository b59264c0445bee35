"""The commands `pack` and `unpack`: between the plain folder and the packed one."""

from __future__ import annotations

import argparse
import json
import shutil
from functools import partial

from models import Loaded, load
from models.console.progress import part, terminal_bar
from models.console.quiet import quiet_transformers
from models.console.units import format_bytes, format_percent
from models.errors import RequestError
from models.source import locate
from models.storage.destination import try_folder
from models.storage.files import new_folder
from models.storage.reading import is_there
from pruning.anatomy.inspection import stored_dtype
from pruning.packing.checking import check_files, pack_checked
from pruning.packing.folder import PACKING, save_packed
from pruning.packing.format import Format
from pruning.packing.install import Packing, packed_layers, unpack
from pruning.saved.record import RECORD, finished_record


def run_pack(options: argparse.Namespace) -> None:
    """`pack DIR --out DIR [--format FORMAT]`."""
    format = Format.parse(options.format)
    source = locate(options.model)
    try_folder(options.out)
    if is_there(source.folder / PACKING):
        raise RequestError(f"{options.model} is packed already: unpack it first, to pack it in another format.")
    finished_record(source.folder)  # told before the work if it cannot be read
    bar = terminal_bar()
    loaded = _load(options.model)
    share = part(bar, 0.0, 0.7)
    packing = pack_checked(loaded.model, loaded.tokenizer, format, share, options.signed_zeros)
    bar(0.7, "Saving, and loading the result in a fresh process")
    record = source.folder / RECORD
    save_packed(
        loaded.model,
        loaded.tokenizer,
        options.out,
        record if record.exists() else None,
        partial(check_files, loaded.model, loaded.tokenizer),
    )
    bar(1.0, f"Saved to {options.out}")
    print(json.dumps({"out": options.out, **packing.as_dict()}) if options.json else packing_text(packing, options.out))


def run_unpack(options: argparse.Namespace) -> None:
    """`unpack DIR --out DIR`."""
    source = locate(options.model)
    try_folder(options.out)
    if not is_there(source.folder / PACKING):
        raise RequestError(f"{options.model} is not packed (it has no {PACKING}): there is nothing to unpack.")
    record = finished_record(source.folder)
    bar = terminal_bar()
    model, tokenizer, _ = load(options.model, device="cpu")
    bar(0.4, "Unpacking")
    rounded = sum(layer.format.int8 for layer in packed_layers(model).values())
    unpack(model)
    with new_folder(options.out) as folder:
        bar(0.6, "Saving")
        with quiet_transformers():
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        if record is not None:
            shutil.copyfile(source.folder / RECORD, folder / RECORD)
    bar(1.0, f"Saved to {options.out}")
    size = sum(parameter.nbytes for parameter in model.parameters())
    if options.json:
        print(json.dumps({"out": options.out, "bytes": size, "dequantised": rounded}))
    else:
        print(f"Unpacked to {options.out}.{_dequantised(rounded)}")


def _dequantised(matrices: int) -> str:
    """What is said of matrices that were packed as int8."""
    if not matrices:
        return ""
    return f" {matrices} matrices were dequantised from int8: they keep the rounding that packing gave them."


def packing_text(packing: Packing, out: str) -> str:
    """What packing did, in a few lines."""
    share = format_percent(packing.packed_bytes / max(packing.dense_bytes, 1))
    lines = [
        f"Packed {packing.matrices} matrices as {packing.format}: {format_bytes(packing.dense_bytes)} before, "
        f"{format_bytes(packing.packed_bytes)} after ({share})."
    ]
    if packing.signed_zeros:
        lines.append(
            f"{packing.signed_zeros} of the stored values are -0.0, kept so that unpacking gives the same bits: "
            "--no-signed-zeros stores them as 0, the same in every product, and takes fewer bytes."
        )
    lines += [f"Left as it is: {name}." for name in packing.left]
    return "\n".join([*lines, f"Saved to {out}; loaded again and checked."])


def _load(name: str) -> Loaded:
    """The model on the CPU, in the dtype of its files: packing must not round."""
    return load(name, device="cpu", dtype=stored_dtype(locate(name).folder, name))
