"""The sampling settings as components, and from their values to `Sampling`."""

import gradio as gr

from models.sampling import Sampling
from ui.texts import Words, label
from ui.values import real, whole

NEW_TOKENS = 96
REPETITION_PENALTY = 1.3  # a small model that writes greedily soon repeats itself
CHAT_TOKENS = 128
CHAT_PENALTY = 1.0  # a penalty bears on what ends a turn too, which stands in every turn before: answers run on


def build_sampling(chats: bool = False) -> list[gr.Slider | gr.Number]:
    """Places the settings; their values are in the order that `sampling_of` takes."""
    new_tokens, repetition_penalty = usual(chats)
    with gr.Row():
        most = gr.Slider(
            8, 512, value=new_tokens, step=8, label=label("max_new_tokens"), min_width=200, elem_id="max-new-tokens"
        )
        temperature = gr.Slider(
            0, 2, value=0, step=0.05, label=label("temperature"), info=label("temperature_info"), min_width=200,
            elem_id="temperature",
        )  # fmt: skip
        seed = gr.Number(0, label=label("seed"), info=label("seed_info"), precision=0, minimum=0, min_width=160)
    with gr.Row():
        top_p = gr.Slider(0.05, 1, value=1, step=0.05, label=label("top_p"), info=label("top_p_info"), min_width=160)
        top_k = gr.Slider(0, 200, value=0, step=1, label=label("top_k"), info=label("top_k_info"), min_width=160)
        min_p = gr.Slider(0, 0.5, value=0, step=0.01, label=label("min_p"), info=label("min_p_info"), min_width=160)
        penalty = gr.Slider(
            1, 2, value=repetition_penalty, step=0.05, label=label("repetition_penalty"),
            info=label("repetition_penalty_info"),
            min_width=160,
        )  # fmt: skip
    return [most, temperature, top_p, top_k, min_p, penalty, seed]


def usual(chats: bool) -> tuple[int, float]:
    """How many new tokens, and what repetition penalty, to begin with."""
    return (CHAT_TOKENS, CHAT_PENALTY) if chats else (NEW_TOKENS, REPETITION_PENALTY)


def sampling_of(
    max_new_tokens: float, temperature: float, top_p: float, top_k: float, min_p: float, repetition_penalty: float,
    seed: float | None, words: Words | None = None,
) -> Sampling:  # fmt: skip
    """The settings of a request; a seed left blank is 0. RequestError for a value of another kind or out of range.

    With `words` a setting is called as the page's label calls it, else as `Sampling` does.
    """
    said = words or Words()

    def name(key: str) -> str:
        return words(key) if words else key

    return Sampling(
        max_new_tokens=whole(name("max_new_tokens"), max_new_tokens, said),
        temperature=real(name("temperature"), temperature, said),
        top_p=real(name("top_p"), top_p, said),
        top_k=whole(name("top_k"), top_k, said),
        min_p=real(name("min_p"), min_p, said),
        repetition_penalty=real(name("repetition_penalty"), repetition_penalty, said),
        seed=whole(name("seed"), 0 if seed is None else seed, said),
    )
