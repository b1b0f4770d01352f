"""Greedy, beam search and nucleus sampling on a trained model: which writes better captions?

    python -m benchmarks.models.searches MODEL_FOLDER --lake ROOT --day 2026-11-25

Captions of the val split against all references: CIDEr-D, BLEU-4, ROUGE-L, each times 100.
"""

from __future__ import annotations

import argparse
import time

import torch

from mmcore.evaluate.captions import bleu4, score_captions
from mmcore.lake import Lake
from mmcore.models import load_model
from mmcore.models.decoding import Search
from mmcore.shards.reader import SampleStore

SEARCHES = {
    "greedy": Search(),
    "beam 2": Search(kind="beam", beams=2),
    "beam 4": Search(kind="beam", beams=4),
    "beam 4, no length penalty": Search(kind="beam", beams=4, length_penalty=0.0),
    "nucleus 0.9": Search(kind="nucleus"),
    "nucleus 0.9, temperature 0.5": Search(kind="nucleus", temperature=0.5),
}


def main() -> None:
    """Read the command line, write, score, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--lake", required=True)
    parser.add_argument("--day", required=True)
    parser.add_argument("--most", type=int, default=300)
    options = parser.parse_args()
    torch.set_num_threads(1)
    predictor = load_model(options.model)
    store = SampleStore.open(Lake(options.lake).up_to("shards", options.day), "val")
    samples = [s for s in store if s.labels.get("captions")][: options.most]
    references = [[c["text"] for c in sample.labels["captions"]] for sample in samples]
    pixels = predictor.decode([sample.jpg for sample in samples])
    print(f"{len(samples)} pictures\n")
    print("| search | CIDEr-D | BLEU-4 | ROUGE-L | ms a caption |\n|---|---|---|---|---|")
    for name, search in SEARCHES.items():
        began = time.process_time()
        written = predictor.caption(pixels, search=search)
        ms = 1000 * (time.process_time() - began) / len(samples)
        scores = score_captions(written, references)
        bleu = float(bleu4(scores.bleu_counts.sum(axis=0)))
        means = (scores.cider.mean(), bleu, scores.rouge_l.mean())
        print(f"| {name} | " + " | ".join(f"{100 * m:.1f}" for m in means) + f" | {ms:.1f} |")


if __name__ == "__main__":
    main()
