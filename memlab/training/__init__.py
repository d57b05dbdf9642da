"""Training: the tiny model (`pretrain`), the format (`warmstart`), the policy (`grpo`, `train`), and the loop that checks it."""
