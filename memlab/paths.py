"""Where the repository is. memlab is installed editable, so its data, notebooks and runs lie beside the package."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
