"""Training: the tiny model (`pretrain`), the format (`warmstart`), the policy (`grpo`, `train`), and the plain loop that checks it."""
