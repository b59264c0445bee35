"""A model under test as that which answers requests: from the cache where it has answered them before.

There are three kinds of request: choices after a prompt, the losses of a window of text, and writing on from a prompt.
All are asked in batches that depend on the requests alone, and a batch is taken from the cache whole or computed whole,
so that a run that was killed and goes on rounds like one that was not.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import torch

from evals.asking import cache
from evals.asking.branches import rows_of
from evals.asking.cache import Cache
from evals.asking.encoding import Pair
from evals.asking.likelihood import ChoiceScore, PairScore, encode, packs, plan, score_batch
from models.console.progress import Progress, silent
from models.description import context_length
from models.forward.causality import is_causal, leaking
from models.loading import Loaded
from models.text.prompts import beginning, prompt_ids

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from evals.asking.writing import Written

WRITING_TOKENS = 4096  # of one batch, prompts and answers together
Compute = Callable[[Loaded, list[int]], Iterable[tuple[int, bytes]]]  # numbers of requests -> their answers


class RequestClient:
    """One model: `load` is called for its weights at the first request that the cache cannot answer.

    `fingerprint` tells it apart from every other model, dtype and device; without a cache everything is computed.
    """

    def __init__(
        self,
        name: str,
        tokenizer: "PreTrainedTokenizerBase",
        config: "PretrainedConfig",
        fingerprint: str,
        load: Callable[[], Loaded],
        answers: Cache | None = None,
    ):
        self.name, self.tokenizer, self.config = name, tokenizer, config.get_text_config()
        self._fingerprint, self._load, self._answers = fingerprint, load, answers
        self._causal: bool | None = None  # not known yet

    @property
    def context(self) -> int:
        """The longest sequence that the model takes, in tokens."""
        return context_length(self.config)

    @property
    def loaded(self) -> Loaded:
        """The model itself, loaded if it is not."""
        return self._load()

    def refuse_leaks(self) -> None:
        """RequestError unless the model is causal (see `models.forward.causality`): a text scored by it would mean nothing."""

        def compute(loaded: Loaded, members: list[int]) -> Iterable[tuple[int, bytes]]:
            yield 0, json.dumps(is_causal(loaded.model)).encode()

        if self._causal is None:
            self._causal = json.loads(self._answered("causal", [""], [[0]], compute, None)[0])
        if not self._causal:
            raise leaking(self.name)

    def likelihoods(
        self, asked: Sequence[tuple[str, Sequence[str]]], progress: Progress | None = None
    ) -> list[list[ChoiceScore]]:
        """The scores of choices after their prompts (see `evals.asking.likelihood.score_prompts`)."""
        encoded = encode(self.tokenizer, asked, self.context)
        return encoded.scores(self._pairs(encoded.pairs, progress))

    def _pairs(self, pairs: Sequence[Pair], progress: Progress | None) -> list[PairScore]:
        self.refuse_leaks()
        packed = self._packs(pairs)
        batches = plan(pairs, packed, self.config)
        numbers = [[at for row in batch for at in row.pairs] for batch in batches]
        by_number = {members[0]: batch for members, batch in zip(numbers, batches, strict=True)}

        def compute(loaded: Loaded, members: list[int]) -> Iterable[tuple[int, bytes]]:
            for at, score in score_batch(loaded.model, by_number[members[0]], pairs):
                yield at, json.dumps(score).encode()

        requests = [json.dumps([*pair, packed]) for pair in pairs]
        found = self._answered("likelihood", requests, numbers, compute, progress)
        return [PairScore(*json.loads(answer)) for answer in found]

    def whole_texts(self, texts: Sequence[str], progress: Progress | None = None) -> list[float]:
        """The log-likelihood in nats of every text, whole, behind the token that a text begins with."""
        start = beginning(self.tokenizer)
        tails = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        found = self._pairs([(start, tail) for tail in tails], progress)
        return [score.log_likelihood for score in found]

    def losses(
        self,
        windows: torch.Tensor,
        compute: Callable[[Loaded, torch.Tensor], np.ndarray],
        at_once: int,
        progress: Progress | None = None,
        first: int = 1,
    ) -> np.ndarray:
        """The losses [n, L - first] (fp32) that `compute` finds of windows of ids [n, L], `at_once` in a batch."""

        def computed(loaded: Loaded, members: list[int]) -> Iterable[tuple[int, bytes]]:
            for at, losses in zip(members, compute(loaded, windows[members]), strict=True):
                yield at, np.asarray(losses, dtype="<f4").tobytes()

        self.refuse_leaks()
        requests = [json.dumps([first, window]) for window in windows.tolist()]
        numbers = [list(range(start, min(start + at_once, len(windows)))) for start in range(0, len(windows), at_once)]
        found = self._answered("losses", requests, numbers, computed, progress)
        return np.stack([np.frombuffer(answer, dtype="<f4") for answer in found])

    def write(
        self, prompts: Sequence[str], max_new_tokens: int, stop: Sequence[str] = (), progress: Progress | None = None
    ) -> list["Written"]:
        """What the model writes on from each prompt, greedily (see `evals.asking.writing`)."""
        from evals.asking.writing import Written, write

        def compute(loaded: Loaded, members: list[int]) -> Iterable[tuple[int, bytes]]:
            asked = [prompts[at] for at in members]
            for place, written in write(loaded.model, loaded.tokenizer, asked, max_new_tokens, stop):
                yield members[place], json.dumps(asdict(written)).encode()

        encoded = [prompt_ids(self.tokenizer, prompt) for prompt in prompts]
        requests = [json.dumps([ids, max_new_tokens, list(stop)]) for ids in encoded]
        batches = self._prompt_batches([len(ids) for ids in encoded], max_new_tokens)
        found = self._answered("writing", requests, batches, compute, progress)
        return [Written(**json.loads(answer)) for answer in found]

    def _prompt_batches(self, lengths: Sequence[int], max_new_tokens: int) -> list[list[int]]:
        waiting = sorted(range(len(lengths)), key=lambda at: (-lengths[at], at))
        batches = []
        while waiting:
            size = max(1, WRITING_TOKENS // (lengths[waiting[0]] + max_new_tokens))
            batches.append(waiting[:size])
            waiting = waiting[size:]
        return batches

    def _packs(self, pairs) -> bool:
        """Whether the model scores branches (see `evals.asking.likelihood.packs`), remembered for these contexts' longest."""
        trees = [row for row in rows_of(pairs, True, self.context) if row.is_tree]
        if not trees:
            return False
        longest = max(len(row.ids) for row in trees)

        def compute(loaded: Loaded, members: list[int]) -> Iterable[tuple[int, bytes]]:
            yield 0, json.dumps(packs(loaded.model, pairs)).encode()

        return json.loads(self._answered("packs", [json.dumps([longest, len(pairs)])], [[0]], compute, None)[0])

    def _answered(
        self,
        kind: str,
        requests: Sequence[str],
        batches: Sequence[list[int]],
        compute: Compute,
        progress: Progress | None,
    ) -> list[bytes]:
        """The answers to all requests; whole batches are looked up, computed and kept."""
        report = progress or silent
        keys = [cache.key(self._fingerprint, kind, request) for request in requests]
        known = self._answers.find(keys) if self._answers else {}
        answers: dict[int, bytes] = {}
        for number, batch in enumerate(batches):
            if all(keys[at] in known for at in batch):
                answers |= {at: known[keys[at]] for at in batch}
                continue
            report(number / len(batches), f"{self.name}: {kind}, batch {number + 1} of {len(batches)}")
            new = dict(compute(self.loaded, batch))
            if self._answers:
                self._answers.keep({keys[at]: answer for at, answer in new.items()})
            answers |= new
        report(1.0, f"{self.name}: {kind}")
        return [answers[at] for at in range(len(requests))]
