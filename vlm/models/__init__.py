"""Loading and recognising vision-language models: families, prompts, attention implementations, fingerprints."""
