"""Trains a tokenizer on the standard library's source: run by benchmarks.peer_install with a peer's own Python, which has the library.

ENV/bin/python peer_tokenizer.py FOLDER
"""

from __future__ import annotations

import json
import os
import sys
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

PAIRS = 32_000
TEXT_FILES = 700


def main(folder: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=PAIRS,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    files = (path for path in sorted(Path(os.__file__).parent.glob("**/*.py")) if "site-packages" not in path.parts)
    texts = (path.read_text("utf-8", "ignore") for path in islice(files, TEXT_FILES))
    tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "model_max_length": 1_000_000,
        "chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": PAIRS}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
