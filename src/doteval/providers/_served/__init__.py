"""What the providers that start a server share: the provider, the model, the options, where a server is installed."""
