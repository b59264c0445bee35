"""How fast the page is: until it answers, and what its streaming costs."""

from benchmarks.publishing import stored
from benchmarks.publishing.text import table, where


def startup() -> str:
    """Time until the page answers."""
    document = stored.document("startup")
    names = {"served": "`python app.py` to the first answered request", "imports_only": "importing the libraries alone"}
    rows = []
    for key, name in names.items():
        runs = document["results"][key]["runs"]
        rows.append([name, f"{document['results'][key]['median']:.1f} s", f"{min(runs):.1f} to {max(runs):.1f} s"])
    return f"{table(['', f'median of {len(runs)}', 'range'], rows)}\n\n{where(document)}"


def streaming() -> str:
    """What the page's streaming costs."""
    document = stored.document("streaming")
    results, protocol = document["results"], document["protocol"]
    names = {"generate": "`model.generate`, no page", "loop": "our step-by-step loop, no page", "page": "the page"}
    rows = []
    for key, name in names.items():
        median, (low, high) = results[key]["median"], results[key]["interval"]
        rows.append([name, f"{median:.2f} s", f"{low:.2f} to {high:.2f} s", f"{protocol['new_tokens'] / median:.0f}"])
    costs = []
    for baseline in ("generate", "loop"):
        ratio = results[f"page_over_{baseline}"]
        low, high = (100 * (end - 1) for end in ratio["interval"])
        costs.append(f"{100 * (ratio['median'] - 1):+.1f} % ({low:+.1f} to {high:+.1f} %) against {names[baseline]}")
    headers = [
        f"{protocol['new_tokens']} tokens, greedy",
        f"median of {protocol['repeats']}",
        "95 % interval",
        "tokens/s",
    ]
    return f"{table(headers, rows)}\n\nThe page's streaming costs {' and '.join(costs)}. {where(document)}"
