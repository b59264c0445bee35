"""Fixtures of the page's tests: an engine over two tiny models that prunes in a moment, and the page it serves."""

import copy

import pytest


@pytest.fixture
def fake_engine(tiny_model, tiny_tokenizer, tiny_chat_tokenizer):
    """A factory of engines (see `ui.engine.Engine`) over one tiny model, without files and without the pruner."""
    from evals.measurement import Measurement
    from models import Loaded
    from models.description import describe
    from models.errors import RequestError
    from ui.background.fetching import Fetcher
    from ui.background.worker import Worker
    from ui.engine import Change, Method, Settings, Twin
    from ui.forms import form_of

    class FakeEngine:
        default_model = "tiny"
        free_choice = True

        def __init__(self, steps: int = 4, note: str = "Nothing is saved.", chat: bool = False, **model_options):
            self.worker = Worker()
            self.fetcher = Fetcher(lambda name, progress: None)
            self.beside = None
            self.steps = steps
            self.note = note
            self.made: dict[str, Twin] = {}
            self.before_step = lambda: None
            network = tiny_model(**model_options)
            tokenizer = tiny_chat_tokenizer if chat else tiny_tokenizer
            self.loaded = Loaded(network, tokenizer, describe(network, "tiny", "test"))

        def choices(self):
            return ["tiny"]

        def methods(self):
            return [
                Method("magnitude", "The size of the weight.", "none", ("unstructured", "2:4")),
                Method("block-influence", "How much a block does.", "layers", ()),
            ]

        def dense(self, model):
            if model != "tiny":
                raise RequestError(f"There is no folder {model}: check the path.")
            return self.loaded

        def form(self, model):
            return form_of(self.loaded)

        def prune(self, model, settings: Settings, progress):
            network = copy.deepcopy(self.dense(model).model)
            for step in range(self.steps):
                self.before_step()
                progress(step / self.steps, f"step {step}")
            for weights in network.model.layers.parameters():
                if weights.dim() == 2:
                    weights.data[weights.abs() < weights.abs().flatten().quantile(settings.sparsity)] = 0
            key = f"{model} {settings.method} {settings.sparsity:g} {settings.pattern}"
            before, after = Measurement("perplexity", 10.0, interval=(9.0, 11.0)), Measurement("perplexity", 12.0)
            ratio = Measurement("perplexity_ratio", 1.2, "times", (1.1, 1.3))
            speed = tuple(Measurement("decode_rate", rate, "tokens/s", (rate - 1, rate + 1)) for rate in (50.0, 150.0))
            speedup = Measurement("decode_speedup", 3.0, "times", (2.9, 3.1))
            counts = (100, 100), (100, 50), (400, 400)
            change = Change(*counts, (before, after), ratio, speed, speedup, False, False, self.note)
            loaded = self.loaded._replace(model=network)
            self.made[key] = Twin(key, model, settings, loaded, change)
            return self.made[key]

        def previewable(self, settings):
            return False

        def twin(self, key):
            if key and key not in self.made:
                raise RequestError("That pruned model is no longer in memory: press Prune to make it again.")
            return self.made.get(key)

        def latest(self, model):
            return next(reversed(self.made.values()), None)

        def twins(self):
            return list(self.made.values())

    engines = []

    def make(**options):
        engines.append(FakeEngine(**options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.worker.close()


@pytest.fixture
def serve():
    """Serves pages in this process: `serve(page) -> address`; they are closed after the test."""
    pages = []

    def start(page):
        from ui.page import look

        page.launch(server_name="127.0.0.1", server_port=None, prevent_thread_lock=True, quiet=True, **look())
        pages.append(page)
        return page.local_url

    yield start
    for page in pages:
        page.close(verbose=False)
