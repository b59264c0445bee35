"""What packed weights give: products of matrices, and whole models."""

from benchmarks.publishing import stored
from benchmarks.publishing.text import spread, table, where
from models.units import format_bytes

NAMES = {"torch bf16": "torch's bf16 linear", "dense": "our layout, dense bf16", "dense int8": "our layout, dense int8"}
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
    about = (
        f"Greedy, batch 1, {document['protocol']['prompt_tokens']} prompt tokens, {document['protocol']['new_tokens']} new "
        f"ones, medians of {document['protocol']['turns']} turns; random weights with random zeros."
    )
    return f"{table(headers, rows)}\n\n{about} {where(document)}"
