"""Providers, one file each. Import them from ``doteval``, which loads an SDK only when its provider is asked for."""
