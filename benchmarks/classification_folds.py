"""Review sentences classified head to head: the fine-tuned language model against a bag of words, fold by fold.

    python benchmarks/classification_folds.py --source DATA --pretrained MODEL [--folds 5] [--epochs 3]

Stratified k-fold cross-validation on all UCI review sentences of `DATA`. In every fold three classifiers see the same
training sentences: TF-IDF with logistic regression; `MODEL` (pretrained, never shown a review) fine-tuned on them for
`--epochs` passes and scored by the log-likelihood of the label words; and the same with all passes but one over
augmented sentences, on the same number of steps. Accuracies are means of folds with their corrected intervals;
differences are paired by fold. Stores benchmarks/results/classification_folds/results.json.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.command import command_line
from evals.environment import environment
from models.console.progress import terminal_bar
from models.storage.files import sha256, write_json
from training.cross_validation import bag_of_words, corrected_mean, cross_validate, language_model
from training.loop import TrainingConfig
from training.tasks.sentiment import UCI

OUT = Path(__file__).parent / "results" / "classification_folds"
CONFIG = TrainingConfig(tokens=1, length=256, batch=8, learning_rate=1.5e-3)


def main() -> None:
    """Measures, prints and stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder of the texts")
    parser.add_argument("--pretrained", type=Path, required=True, help="folder that `training pretrain` made")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3, help="passes over the sentences (default 3)")
    options = parser.parse_args()
    reviews = [review for source in UCI for review in source.open(options.source)]
    classifiers = {
        "bag of words": bag_of_words,
        "language model": language_model(options.pretrained, CONFIG, options.epochs),
        "language model, augmented": language_model(options.pretrained, CONFIG, 1, augmented=options.epochs - 1),
    }
    accuracies = cross_validate(
        [review.text for review in reviews],
        [review.label for review in reviews],
        classifiers,
        options.folds,
        progress=terminal_bar(),
    )
    pairs = (("language model", "bag of words"), ("language model, augmented", "language model"))
    results = {
        "accuracy": {
            name: asdict(corrected_mean(values)) | {"folds": values.tolist()} for name, values in accuracies.items()
        },
        "difference": {
            f"{one} - {other}": asdict(corrected_mean(accuracies[one] - accuracies[other])) for one, other in pairs
        },
    }
    document = {
        "schema_version": 1,
        "command": command_line(),
        "environment": environment(),
        "protocol": {
            "sentences": len({review.text for review in reviews}),
            "folds": options.folds,
            "epochs": options.epochs,
            "training": asdict(CONFIG),
            "pretrained": {file.name: sha256(file) for file in sorted(options.pretrained.glob("*.safetensors"))},
            "interval": "95 %, corrected resampled t (Nadeau and Bengio 2003)",
        },
        "results": results,
    }
    write_json(OUT / "results.json", document)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
