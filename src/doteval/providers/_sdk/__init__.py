"""What the providers on an SDK share: the model, the provider, what is told of a failed request, the options."""
