"""Every image-text-to-text type of the installed transformers: declared, found by search, or refused, and why.

python tests/benchmarks/family_table.py --markdown docs/reference/families.md
"""

from __future__ import annotations

import argparse
import re
import warnings
from pathlib import Path

import torch
import transformers
from skip_timing import show
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as TYPES

from vlm.models.families import FAMILIES, anatomy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path, help="page whose table between the family_table markers is replaced")
    parser.add_argument("--type", nargs="+", help="only these types")
    given = parser.parse_args()
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    rows = [(kind, *judged(kind)) for kind in sorted(given.type or TYPES)]
    count = {status: sum(row[1] == status for row in rows) for status in ("declared", "found", "refused", "not built")}
    lines = [
        f"transformers {transformers.__version__}: of {len(rows)} types, {count['declared']} are declared, built and "
        f"in the exactness table, {count['found']} more are found by search, {count['refused']} are refused, "
        f"{count['not built']} could not be built from their default configuration.",
        "",
        "| type | | decoder, or why not |",
        "| --- | --- | --- |",
        *(f"| `{kind}` | {status} | {what} |" for kind, status, what in rows),
    ]
    show(lines, given.markdown, "family_table")


def judged(kind: str) -> tuple[str, str]:
    """Whether a type works, and where its decoder is or what it lacks."""
    try:
        with torch.device("meta"):
            config = transformers.AutoConfig.for_model(kind)
            if getattr(config, "image_token_index", 0) is None:
                config.image_token_index = 3  # absent by default, present in checkpoints (BLIP-2)
            model = transformers.AutoModelForImageTextToText.from_config(config)
    except Exception as error:
        return "not built", f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
    try:
        parts = anatomy(model)
    except (TypeError, ValueError) as error:
        text = str(error)
        reason = re.search(r"; (nearest is .*|several decoders.*|no module .*)\. If it has", text)
        return "refused", (reason.group(1) if reason else text.removeprefix("model: ")).replace("|", "/")
    declared = any(family.name == kind for family in FAMILIES)
    return ("declared" if declared else "found"), f"`{parts.family.decoder}`"


if __name__ == "__main__":
    main()
