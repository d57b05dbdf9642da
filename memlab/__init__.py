"""A workbook of papers in which a language model is trained, by reinforcement learning, to manage its own memory."""

import os
import sys

# TRL reports each trainer that is made to the hub. Nothing here tells anyone anything, unless the environment says so.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
if "huggingface_hub.constants" in sys.modules:  # it read the variable when it was imported
    sys.modules["huggingface_hub.constants"].HF_HUB_DISABLE_TELEMETRY = os.environ["HF_HUB_DISABLE_TELEMETRY"] != "0"
