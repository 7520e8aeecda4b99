"""The slots of the machine: which GPUs there are, and the locks by which servers take turns on them."""
