"""What packed weights give: products of matrices, and whole models."""

from benchmarks.publishing import stored
from benchmarks.publishing.text import spread, table, where
from models.console.units import format_bytes

NAMES = {
    "torch bf16": "torch's bf16 linear", "torch bf16, ordinary pages": "the same in ordinary pages",
    "dense": "our layout, dense bf16", "dense int8": "our layout, dense int8",
}  # fmt: skip
LAYOUTS = {
    "plain": "as transformers runs it", "auto": "packed", "int8": "packed, int8",
    "int8:64": "packed, int8, a scale for 64", "bnb-int8": "bitsandbytes int8", "bnb-nf4": "bitsandbytes nf4",
}  # fmt: skip
MANY = ("16", "64", "256", "512")  # rows of inputs, as in prefill
TRANSFORMERS, DENSE = "transformers bf16", "dense"


def packed_products() -> str:
    """One row of inputs: every contender over the shapes, against torch and against our dense layout."""
    document = stored.document("packed_products")
    shapes, means = document["results"]["1"], document["geometric_means"]["1"]
    rows = []
    for name, ratios in means.items():
        each = [shapes[shape][name] for shape in shapes]
        micros = ", ".join(f"{found['median'] * 1e6:.0f}" for found in each)
        bound = ", ".join(f"{100 * found['share_of_bound']:.0f}" for found in each)
        size = sum(found["bytes"] for found in each) / sum(found[DENSE]["bytes"] for found in shapes.values())
        rows.append(
            [
                NAMES.get(name, name),
                f"{size:.2f}",
                micros,
                bound,
                *(f"{ratios[of]:.2f}" for of in ("torch bf16", DENSE)),
            ]
        )
    headers = ["weights", "bytes of dense", "µs", "% of the bound", "times torch", "times our dense"]
    rate = sum(found["reading"]["bytes_per_second"] for found in shapes.values()) / len(shapes) / 1e9
    about = (
        f"Medians of {document['protocol']['turns']} turns on the shapes {', '.join(shapes)}; ratios are geometric means "
        f"over them. The bound is bytes over {rate:.0f} GB/s, at which this machine read memory in the same turns."
    )
    return f"{table(headers, rows)}\n\n{about} {where(document)}"


def packed_prefill() -> str:
    """Many rows of inputs, against torch's own product."""
    document = stored.document("packed_products")
    counts = [count for count in MANY if count in document["geometric_means"]]
    names = list(document["geometric_means"][counts[0]])
    rows = [
        [NAMES.get(name, name), *(f"{document['geometric_means'][count][name]['torch bf16']:.2f}" for count in counts)]
        for name in names
    ]
    return table(["times as fast as torch's bf16 linear", *(f"{count} rows" for count in counts)], rows)


def packed_decode() -> str:
    """Whole models writing: tokens a second and bytes in every layout."""
    document = stored.document("packed_decode")
    rows = []
    for shape, results in document["results"].items():
        for name, found in results["models"].items():
            ratios = (spread(found[f"times {other}"], ".2f") for other in (TRANSFORMERS, DENSE))
            rate = f"{found['median']:.1f}"
            bound = f"{100 * found['share_of_bound']:.0f} %"
            rows.append([shape, NAMES.get(name, name), format_bytes(found["bytes"]), rate, *ratios, bound])
    headers = [
        "model",
        "layout",
        "bytes in memory",
        "tokens/s",
        "times transformers",
        "times our dense",
        "of the bound",
    ]
    rates = [
        found["bytes_per_second"] / 1e9
        for results in document["results"].values()
        for found in results["models"].values()
    ]
    told = [f"{name} {number}" for results in document["results"].values() for versions in results["versions"].values()
            for name, number in versions.items()]  # fmt: skip
    about = (
        f"{', '.join(dict.fromkeys(told))}{'. ' * bool(told)}"
        f"Greedy, batch 1, {document['protocol']['prompt_tokens']} prompt tokens, {document['protocol']['new_tokens']} new "
        f"ones, medians of {document['protocol']['turns']} turns; random weights with random zeros. The bound is bytes over the "
        f"rate at which each model's own memory was read in the same turns, {min(rates):.0f} to {max(rates):.0f} GB/s: in a "
        "virtual machine some of the memory is slower than the rest, which moves the ratios as well."
    )
    return f"{table(headers, rows)}\n\n{about} {where(document)}"


def packed_loading() -> str:
    """What a model takes on disk, in memory and while it is loaded, dense and packed."""
    document = stored.document("packed_loading")
    rows = []
    for name, found in document["results"].items():
        sizes = (format_bytes(found[key]) for key in ("bytes_on_disk", "bytes_in_memory", "peak_bytes"))
        share = f"{found['projections']:.3f}" if "projections" in found else "1"
        rows.append([name, *sizes, f"{found['seconds']['median']:.1f} s", share])
    headers = ["folder", "on disk", "in memory", "peak while loading", "load time", "projections, of bf16"]
    largest = format_bytes(document["results"]["packed"]["largest_matrix"])
    about = (
        f"Shape {document['protocol']['shape']}, half of the weights zero, {document['protocol']['repeats']} fresh processes "
        f"each. The peak is above what the process held before; the largest matrix of `packed`, its head, has {largest}. "
        "transformers maps the dense files and reads them when they are first used."
    )
    return f"{table(headers, rows)}\n\n{about} {where(document)}"


def packed_layouts() -> str:
    """The embedded model, dense and pruned, in our layouts and in bitsandbytes'."""
    document = stored.document("packed_layouts")
    protocol = document["protocol"]
    rows = []
    for model, layouts in document["results"].items():
        for layout, found in layouts.items():
            speed = f"{found['speed']['median']:.0f}"
            texts = str(found["same_texts"])
            texts += f" ({found['same_texts_float32']} in fp32)" if "same_texts_float32" in found else ""
            rows.append(
                [
                    model,
                    LAYOUTS[layout],
                    format_bytes(found["bytes"]),
                    speed,
                    spread(found["times"], ".2f"),
                    f"{found['perplexity']['value']:.2f}",
                    spread(found["ratio"], ".4f"),
                    texts,
                ]
            )
    headers = ["model", "layout", "bytes", "tokens/s", "times dense", "perplexity", "of plain", "same texts"]
    about = (
        f"Perplexity on {protocol['text']}; of plain: of the same model as transformers runs it. Same texts: of "
        f"{protocol['prompts']} prompts, written on greedily for {protocol['tokens']} tokens as the plain model does."
    )
    return f"{table(headers, rows)}\n\n{about} {where(document)}"
